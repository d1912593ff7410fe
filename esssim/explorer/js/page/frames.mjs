// The loop of animation frames: draws where something is new, and keeps how long that took.

const KEPT = 120,
  // Frames between two looks at their times.
  EVERY = 30,
  // With reduced motion a running picture is drawn twice a second.
  CALM = 500;

export class Frames {
  /** draw(): all pictures and numbers; calm(): whether motion is to be reduced; told(words): the times in words. */
  constructor({ draw, calm, told }) {
    Object.assign(this, { draw, calm, told, dirty: true, times: [], gaps: [], last: 0, drawn: 0, first: undefined });
  }

  start() {
    requestAnimationFrame((time) => this.paint(time));
  }

  paint(time) {
    requestAnimationFrame((next) => this.paint(next));
    if (this.last) this.gaps.push(time - this.last);
    this.last = time;
    if (!this.dirty || (this.calm() && time - this.drawn < CALM)) return;
    this.drawn = time;
    this.dirty = false;
    const begun = performance.now();
    if (this.draw()) this.first ??= performance.now();
    this.times.push(performance.now() - begun);
    if (this.times.length % EVERY === 0) this.tell();
  }

  tell() {
    this.times = this.times.slice(-KEPT);
    this.gaps = this.gaps.slice(-KEPT);
    const [time, gap] = [middle(this.times), middle(this.gaps)];
    this.told(`drawing a frame takes ${time.toFixed(1)} ms; ${Math.round(1000 / gap)} frames a second`);
  }
}

const middle = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
