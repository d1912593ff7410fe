// The run as the page knows it: what the worker has said of it so far.

import { short } from "./axes.mjs";

/** Records between two points of the flow at most, in steps of a run of 301 records. */
const RECORDS = 300;

export class Run {
  constructor({ steps, b }) {
    Object.assign(this, {
      records: [],
      flow: [],
      edges: new Map(),
      eigenvalues: [],
      exact: false,
      theta: null,
      path: [],
      trail: [],
      here: [],
      firstSize: b,
      limit: steps,
      spacing: steps / RECORDS,
      after: Infinity,
      changes: [],
      diverged: -1,
      finished: false,
      ready: null,
      flowLost: null,
      message: "",
    });
  }

  get last() {
    return this.records.at(-1);
  }

  /** The batch size of the last step. */
  get b() {
    return this.changes.at(-1)?.b ?? this.firstSize;
  }

  /** The factor on the step size at the last step. */
  get factor() {
    return this.changes.at(-1)?.factor ?? 1;
  }

  /** The step size of the last record, or of the first step. */
  get eta() {
    return this.last?.eta ?? this.ready?.eta[0];
  }

  /** Take in what the worker says. */
  hear(data) {
    if (data.type === "refused") this.message = data.message;
    else if (data.type === "ready")
      Object.assign(this, { ready: data, limit: data.limit, after: data.after, theta: data.theta });
    else this.grow(data);
  }

  grow(news) {
    this.records.push(...news.records);
    this.flow.push(...news.flow);
    for (const edge of news.edges) this.edges.set(edge.b, edge);
    this.finished = news.finished ?? this.finished;
    this.limit = news.limit ?? this.limit;
    this.diverged = news.diverged ?? -1;
    this.flowLost = news.flowLost;
    this.exact = news.exact;
    if (news.changes && news.changes.length !== this.changes.length)
      this.changes = inWords(news.changes, this.firstSize);
    if (news.eigenvalues) this.eigenvalues = news.eigenvalues;
    if (news.theta) this.theta = news.theta;
    if (news.path?.length) this.path = news.path;
    if (!news.records.length) return;
    this.records = this.records.filter((record) => record.diverged === undefined);
    if (this.last) this.here.push([this.last.b, this.last.eta]);
    if (this.ready?.plane && news.theta) this.trail.push([news.theta[0], news.theta[1]]);
  }

  /** The mean of valueOf(record) over the records behind `after`; NaN where there is none. */
  mean(valueOf) {
    const values = this.records.filter((record) => record.step >= this.after).map(valueOf);
    return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : NaN;
  }
}

/** Changes with a note on what each did to η and b. */
function inWords(changes, firstSize) {
  return changes.map((change, k) => {
    const before = changes[k - 1] ?? { factor: 1, b: firstSize },
      raised = change.factor / before.factor;
    const words = [
      Math.abs(raised - 1) > 1e-9 ? `η × ${short(raised)}` : "",
      change.b !== before.b ? `b = ${change.b}` : "",
    ];
    return { ...change, note: words.filter(Boolean).join(", ") };
  });
}
