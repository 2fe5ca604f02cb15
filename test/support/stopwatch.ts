const TICK_MS = 10;
/** What the time between two ticks counts for at most. */
const MOST_MS = 5 * TICK_MS;

/** Milliseconds in which this process could act. */
let lived = 0;
let tickedAt = performance.now();

function tick(): void {
  const now = performance.now();
  lived += Math.min(now - tickedAt, MOST_MS);
  tickedAt = now;
}

setInterval(tick, TICK_MS).unref();

/**
 * Starts a stopwatch for deadlines that this process has to keep. It stands still while no timer of the process can
 * fire, since a busy machine keeps it from the processor. On an idle machine it shows the time that has passed.
 *
 * @returns a function that gives the milliseconds since the start.
 */
export function startStopwatch(): () => number {
  tick();
  const begin = lived;
  return () => {
    tick();
    return lived - begin;
  };
}
