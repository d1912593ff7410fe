// The worker: computes the run in slices of a few milliseconds, and tells the page what is new.

import { Experiment, Refused } from "./experiment.mjs";

const SLICE = 12,
  SWEEP = 900;

/** scope: where messages come in and go out, the worker's global or one end of a channel. */
export function serve(scope, now = () => performance.now()) {
  let experiment = null,
    id = 0,
    playing = false,
    pace = Infinity,
    credit = 0,
    clock = 0,
    waiting = false;
  let sweep = { left: [], at: -1, begun: -Infinity };
  const channel = new MessageChannel();
  channel.port1.onmessage = () => slice();

  const wake = () => {
    if (!waiting && experiment) {
      waiting = true;
      channel.port2.postMessage(0);
    }
  };

  function configure({ settings, table, changes, play }) {
    try {
      experiment = new Experiment(settings, table, changes);
    } catch (error) {
      experiment = null;
      if (!(error instanceof Refused)) throw error;
      scope.postMessage({ type: "refused", id, message: error.message });
      return;
    }
    const { model, firstEdge, second, sizes, after } = experiment,
      { n, d, p, form } = model;
    const two = settings.model === "two",
      moment = two ? model.inputs.reduce((sum, x) => sum + (x * x) / n, 0) : 0;
    const weight = two ? experiment.theta0[0] * experiment.theta0[1] : 0;
    playing = play;
    clock = now();
    credit = 1;
    sweep = { left: [], at: -1, begun: -Infinity };
    scope.postMessage({
      type: "ready",
      id,
      n,
      d,
      p,
      form,
      firstEdge,
      second,
      sizes,
      after,
      limit: experiment.limit,
      eta: [experiment.etaAt(0), experiment.etaAt(settings.steps)],
      hasFlow: Boolean(experiment.flow),
      plane: two
        ? { walls: experiment.walls(), moment, weight: settings.start === "solution" ? weight : target(experiment) }
        : null,
      theta: experiment.theta0,
    });
  }

  function slice() {
    waiting = false;
    if (!experiment) return;
    const begun = now(),
      until = begun + SLICE,
      news = { type: "news", id, records: [], flow: [], edges: [] };
    credit = pace === Infinity ? 1 : Math.min(credit + ((begun - clock) / 1000) * pace, 4);
    clock = begun;
    while (playing && !experiment.finished && credit >= 1 && now() < until) {
      news.records.push(experiment.next());
      if (pace !== Infinity) credit -= 1;
      news.path = experiment.path;
    }
    if (experiment.count) {
      news.flow = experiment.followFlow(Math.max(until, now() + SLICE / 3), now);
      showEdges(news, begun);
      const more =
        (!playing || experiment.finished) && !sweep.left.length && now() < until ? experiment.refine(64) : null;
      if (more) news.eigenvalues = more;
    }
    publish(news);
    const resting = !playing || experiment.finished;
    const behind =
      experiment.flow &&
      !experiment.flow.stopped &&
      experiment.stepOfRecord(experiment.flowAt ?? 0) <= experiment.sgd.step;
    if (!resting || news.flow.length || behind || sweep.left.length || news.eigenvalues) {
      if (pace < Infinity && !behind && !sweep.left.length && credit < 1)
        setTimeout(wake, Math.min(50, ((1 - credit) / pace) * 1000));
      else wake();
    }
  }

  /** The edges at the last record, one batch size after the other: again when the run has moved on. */
  function showEdges(news, begun) {
    const step = experiment.last?.step ?? -1,
      resting = !playing || experiment.finished;
    if (!sweep.left.length && step !== sweep.at && (resting || begun - sweep.begun > SWEEP))
      sweep = { left: experiment.sizes, at: step, begun };
    if (sweep.left.length && experiment.sgd.divergedAt < 0) news.edges.push(experiment.edgesOf(sweep.left.shift()));
    else sweep.left = [];
  }

  function publish(news) {
    if (!news.records.length && !news.flow.length && !news.edges.length && !news.eigenvalues) return;
    const { last } = experiment;
    if (news.records.length && last) Object.assign(news, { eigenvalues: last.eigenvalues, theta: last.theta });
    Object.assign(news, {
      exact: last?.exact ?? false,
      finished: experiment.finished,
      limit: experiment.limit,
      diverged: experiment.sgd.divergedAt,
      flowLost: experiment.flow ? experiment.flow.stopped : null,
      changes: experiment.changes,
    });
    scope.postMessage(news);
  }

  const HANDLERS = {
    configure: (message) => {
      id = message.id;
      configure(message);
    },
    play: ({ on }) => {
      playing = on;
      clock = now();
    },
    step: () => {
      if (!experiment || experiment.finished) return;
      playing = false;
      publish({ type: "news", id, records: [experiment.next()], flow: [], edges: [], path: experiment.path });
    },
    pace: (message) => {
      pace = message.pace;
      clock = now();
    },
    change: ({ factor, b }) => {
      if (!experiment?.count) return;
      experiment.change({ factor, b });
      playing = true;
      clock = now();
    },
  };
  scope.onmessage = ({ data }) => {
    HANDLERS[data.type](data);
    wake();
  };
}

/** β* of one input. */
function target({ model }) {
  let cross = 0,
    square = 0;
  for (let i = 0; i < model.n; i++) {
    cross += model.inputs[i] * model.targets[i];
    square += model.inputs[i] ** 2;
  }
  return cross / square;
}
