// Where pictures are drawn: a canvas, or a text of SVG, by the same calls.

/** Whether a point lies on the page: none of a number without end does, and null is a gap. */
const drawable = (point) => point !== null && Number.isFinite(point[0]) && Number.isFinite(point[1]);

/** style: {color, width, dash, alpha}; points: [[x, y], …] with null for a gap. */
export class CanvasSurface {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
  }

  begin() {
    const ratio = Math.min(devicePixelRatio || 1, 3),
      { clientWidth, clientHeight } = this.canvas;
    const [w, h] = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== h) Object.assign(this.canvas, { width: w, height: h });
    Object.assign(this, { width: clientWidth, height: clientHeight });
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.context.clearRect(0, 0, clientWidth, clientHeight);
  }

  line(points, { color, width = 1, dash = [], alpha = 1 }) {
    const c = this.context;
    Object.assign(c, {
      strokeStyle: color,
      lineWidth: width,
      globalAlpha: alpha,
      lineJoin: "round",
      lineCap: dash.length ? "butt" : "round",
    });
    c.setLineDash(dash);
    c.beginPath();
    let up = true;
    for (const point of points) {
      if (!drawable(point)) up = true;
      else if (up) {
        c.moveTo(point[0], point[1]);
        up = false;
      } else c.lineTo(point[0], point[1]);
    }
    c.stroke();
    c.globalAlpha = 1;
  }

  area(points, { color, alpha = 1 }) {
    const c = this.context;
    Object.assign(c, { fillStyle: color, globalAlpha: alpha });
    c.beginPath();
    points.filter(drawable).forEach(([x, y], k) => (k ? c.lineTo(x, y) : c.moveTo(x, y)));
    c.closePath();
    c.fill();
    c.globalAlpha = 1;
  }

  rectangle(x, y, w, h, { color, alpha = 1 }) {
    const c = this.context;
    Object.assign(c, { fillStyle: color, globalAlpha: alpha });
    c.fillRect(x, y, w, h);
    c.globalAlpha = 1;
  }

  circle(x, y, radius, { fill, color, width = 1, alpha = 1 }) {
    const c = this.context;
    c.globalAlpha = alpha;
    c.beginPath();
    c.arc(x, y, radius, 0, 2 * Math.PI);
    if (fill) {
      c.fillStyle = fill;
      c.fill();
    }
    if (color) {
      Object.assign(c, { strokeStyle: color, lineWidth: width });
      c.setLineDash([]);
      c.stroke();
    }
    c.globalAlpha = 1;
  }

  text(
    words,
    x,
    y,
    { color, size = 12, align = "left", baseline = "alphabetic", weight = "normal", turn = 0, halo = null },
  ) {
    if (!drawable([x, y])) return;
    const c = this.context;
    c.save();
    c.translate(x, y);
    c.rotate(turn);
    Object.assign(c, { font: `${weight} ${size}px ${FONT}`, textAlign: ALIGN[align], textBaseline: baseline });
    if (halo) {
      Object.assign(c, { strokeStyle: halo, lineWidth: 3.5, lineJoin: "round" });
      c.setLineDash([]);
      c.strokeText(words, 0, 0);
    }
    c.fillStyle = color;
    c.fillText(words, 0, 0);
    c.restore();
  }

  clip(x, y, w, h, draw) {
    const c = this.context;
    c.save();
    c.beginPath();
    c.rect(x, y, w, h);
    c.clip();
    draw();
    c.restore();
  }
}

export class SvgSurface {
  constructor(width, height, background) {
    Object.assign(this, { width, height, parts: [], clips: 0 });
    this.rectangle(0, 0, width, height, { color: background });
  }

  begin() {}

  line(points, { color, width = 1, dash = [], alpha = 1 }) {
    let path = "",
      up = true;
    for (const point of points) {
      if (!drawable(point)) up = true;
      else {
        path += `${up ? "M" : "L"}${round(point[0])} ${round(point[1])}`;
        up = false;
      }
    }
    const dashes = dash.length ? ` stroke-dasharray="${dash.join(" ")}"` : "";
    this.parts.push(
      `<path d="${path}" fill="none" stroke="${color}" stroke-width="${width}" stroke-opacity="${alpha}"${dashes} ` +
      `stroke-linejoin="round"/>`,
    );
  }

  area(points, { color, alpha = 1 }) {
    const list = points.filter(drawable).map(([x, y]) => `${round(x)},${round(y)}`).join(" ");
    this.parts.push(`<polygon points="${list}" fill="${color}" fill-opacity="${alpha}"/>`);
  }

  rectangle(x, y, w, h, { color, alpha = 1 }) {
    if (!drawable([x + w, y + h])) return;
    this.parts.push(
      `<rect x="${round(x)}" y="${round(y)}" width="${round(w)}" height="${round(h)}" fill="${color}" ` +
      `fill-opacity="${alpha}"/>`,
    );
  }

  circle(x, y, radius, { fill = "none", color = "none", width = 1, alpha = 1 }) {
    if (!drawable([x, y])) return;
    this.parts.push(
      `<circle cx="${round(x)}" cy="${round(y)}" r="${radius}" fill="${fill}" stroke="${color}" ` +
      `stroke-width="${width}" opacity="${alpha}"/>`,
    );
  }

  text(words, x, y, { color, size = 12, align = "left", baseline = "alphabetic", weight = "normal", turn = 0 }) {
    if (!drawable([x, y])) return;
    const shift = { alphabetic: 0, middle: 0.35, top: 0.8, bottom: -0.2 }[baseline] * size;
    const rotate = turn ? ` transform="rotate(${round((turn * 180) / Math.PI)} ${round(x)} ${round(y)})"` : "";
    const anchor = { left: "start", center: "middle", right: "end" }[align];
    this.parts.push(
      `<text x="${round(x)}" y="${round(y + shift)}" font-size="${size}" font-weight="${weight}" fill="${color}" ` +
      `text-anchor="${anchor}"${rotate}>${escaped(words)}</text>`,
    );
  }

  clip(x, y, w, h, draw) {
    const name = `clip${this.clips++}`;
    this.parts.push(
      `<clipPath id="${name}"><rect x="${round(x)}" y="${round(y)}" width="${round(w)}" ` +
      `height="${round(h)}"/></clipPath><g clip-path="url(#${name})">`,
    );
    draw();
    this.parts.push("</g>");
  }

  toString() {
    const { width, height } = this;
    const size = `width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`;
    const font = `font-family="${FONT.replaceAll('"', "'")}"`;
    return `<svg xmlns="http://www.w3.org/2000/svg" ${size} ${font}>${this.parts.join("\n")}</svg>\n`;
  }
}

const FONT = 'system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif';
const ALIGN = { left: "left", center: "center", right: "right" };
const round = (x) => Math.round(x * 100) / 100;
const escaped = (words) =>
  String(words).replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]);
