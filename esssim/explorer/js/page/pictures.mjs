// The five pictures of a run: which is drawn where, and how they leave the page.

import { diagramScales, drawDiagram } from "./diagram.mjs";
import { find } from "./dom.mjs";
import { drawHistogram } from "./histogram.mjs";
import { drawCoordinates, drawPlane, drawWeights } from "./plane.mjs";
import { CanvasSurface, SvgSurface } from "./surface.mjs";
import { drawLoss, drawTrajectory } from "./trajectory.mjs";

const NAMES = ["trajectory", "loss", "histogram", "diagram", "plane"];

export class Pictures {
  constructor(session, view) {
    Object.assign(this, { session, view, cursor: null });
    this.surfaces = Object.fromEntries(NAMES.map((name) => [name, new CanvasSurface(find(name))]));
  }

  draw(theme) {
    for (const name of NAMES) this[name](this.surfaces[name], theme);
  }

  trajectory(surface, theme) {
    drawTrajectory(surface, this.session.run, this.view, theme, this.cursor);
  }

  loss(surface, theme) {
    drawLoss(surface, this.session.run, theme);
  }

  histogram(surface, theme) {
    const { last, eigenvalues } = this.session.run;
    if (!last) return surface.begin();
    const { sharpness, eta, share } = last;
    drawHistogram(surface, { eigenvalues, sharpness, eta, Q: (2 * share) / eta }, theme);
  }

  diagram(surface, theme) {
    drawDiagram(surface, this.diagramShown(), theme);
  }

  plane(surface, theme) {
    const { run, settings } = this.session,
      { ready, theta, trail, path, eta, b } = run;
    if (!ready || !theta) surface.begin();
    else if (ready.plane)
      drawPlane(surface, { plane: ready.plane, alpha: settings.alpha, trail, path, eta, b, n: ready.n }, theme);
    else if (ready.p === ready.d) drawWeights(surface, { theta }, theme);
    else drawCoordinates(surface, { theta, theta0: ready.theta, form: ready.form }, theme);
  }

  diagramShown() {
    const { run, settings } = this.session,
      edges = [...run.edges.values()].sort((one, other) => one.b - other.b);
    return { edges, n: run.ready?.n ?? settings.n, b: run.b, eta: run.eta ?? 1, trail: run.here };
  }

  /** {ratio, b}: the change of η and the batch size that a point of the diagram stands for; null without a diagram. */
  changeAt(clientX, clientY) {
    const shown = this.diagramShown(),
      { left, top } = find("diagram").getBoundingClientRect();
    if (!shown.edges.length) return null;
    const { x, y } = diagramScales(this.surfaces.diagram, shown),
      b = Math.round(Math.min(shown.n, Math.max(1, x.back(clientX - left))));
    return { ratio: y.back(clientY - top) / shown.eta, b };
  }

  /** The run as a text of SVG. */
  svg(theme) {
    const { clientWidth, clientHeight } = find("trajectory"),
      surface = new SvgSurface(clientWidth, clientHeight, theme.paper);
    this.trajectory(surface, theme);
    return surface.toString();
  }

  /** The run and the three pictures on the right, on one canvas. */
  sheet(theme) {
    const [main, ...rest] = NAMES.filter((name) => name !== "loss").map(find),
      sheet = document.createElement("canvas");
    const side = Math.max(...rest.map((each) => each.width)),
      tall = rest.reduce((sum, each) => sum + each.height, 0);
    Object.assign(sheet, { width: main.width + side, height: Math.max(main.height, tall) });
    const context = sheet.getContext("2d");
    context.fillStyle = theme.paper;
    context.fillRect(0, 0, sheet.width, sheet.height);
    context.drawImage(main, 0, 0);
    let top = 0;
    for (const each of rest) {
      context.drawImage(each, main.width, top);
      top += each.height;
    }
    return sheet;
  }
}
