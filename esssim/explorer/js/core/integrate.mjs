// The solver of the flow: ROS2, a linearly implicit method of second order for whatever approximate Jacobian, whose
// stiff part is known in factors. The first-order solution inside it gives the error. Beyond the edge there is no flow,
// so that a step that lands there is taken again, shorter.

import { fastMotion, motion } from "./flow.mjs";

const GAMMA = 1 + Math.SQRT1_2,
  SHORTEST = 1e-7,
  ACCURACY = 1e-8;

export class FlowSolver {
  /** etaAt: step ↦ η; tolerance: relative error of θ in a step. */
  constructor(law, theta0, etaAt, { step = 0, tolerance = 3e-4 } = {}) {
    Object.assign(this, { law, etaAt, step, tolerance, theta: Float64Array.from(theta0), stopped: false });
    this.fast = fastMotion(law, this.theta, etaAt(step));
    this.moving = this.fast && motion(this.fast);
    this.stopped = !this.fast;
    this.length = 0;
  }

  /** One step of the solver, not beyond `to`; `stopped` where the flow meets an edge that it cannot leave. */
  advance(to) {
    if (this.stopped || this.step >= to) return;
    const { velocity, solve, ofStep } = this.moving,
      { law, theta, step } = this,
      size = norm(theta);
    let h = Math.min(to - step, this.length || Math.max(1, (1e-3 * size) / (norm(velocity) || 1e-300)));
    for (;;) {
      // How much the velocity changes by η alone in the step.
      const rise = this.etaAt(step + h) - this.etaAt(step),
        drift = ofStep.map((x) => GAMMA * rise * x);
      const first = solve(
          GAMMA * h,
          velocity.map((x, k) => x + drift[k]),
        ),
        middle = theta.map((x, k) => x + h * first[k]);
      const there = fastMotion(law, middle, this.etaAt(step + h), this.fast.rho, ACCURACY);
      let next = null,
        error = Infinity;
      if (there) {
        const other = motion(there).velocity,
          right = other.map((x, k) => x - 2 * first[k] - drift[k]);
        const second = solve(GAMMA * h, right);
        const moved = theta.map((x, k) => x + h * (1.5 * first[k] + 0.5 * second[k]));
        error = norm(moved.map((x, k) => x - middle[k])) / size / this.tolerance;
        if (error <= 1) next = fastMotion(law, moved, this.etaAt(step + h), there.rho, ACCURACY);
      }
      if (next) {
        this.step = step + h >= to - 1e-9 ? to : step + h;
        Object.assign(this, { theta: next.theta, fast: next, moving: motion(next) });
        this.length = h * Math.min(4, 0.85 / Math.sqrt(error + 1e-12));
        return;
      }
      h *= error > 1 && error < Infinity ? Math.max(0.2, 0.8 / Math.sqrt(error)) : 0.25;
      if (!(h >= SHORTEST * (step + 1))) {
        this.stopped = true;
        return;
      }
    }
  }
}

const norm = (x) => Math.sqrt(x.reduce((sum, value) => sum + value * value, 0));
