import { inspect } from 'node:util';
import { startStopwatch } from './stopwatch';
import { until } from './until';

/** The results of all requests. */
export interface TrafficReport {
  served: number;
  /** Failures by code. */
  failed: Record<string, number>;
  /** How long each failed call took, in milliseconds. */
  failedMs: number[];
  /** Live sessions that were reported as "not signed in". */
  signedOut: number;
  /** Answers that belonged to another user. */
  mixedUp: number;
  /** The duration of the longest call, in milliseconds. */
  worstMs: number;
  /** The same, of the milliseconds in which this process could act: what a deadline allows for. */
  worstActiveMs: number;
  /** Milliseconds from the start to the first and the last failure; `null` without one. */
  failedFromMs: number | null;
  failedUntilMs: number | null;
}

/** Requests of signed-in users at a steady rate, independent of earlier results. */
interface Traffic {
  /** Waits until a request that began after this call has succeeded for every user. */
  untilServed(timeoutMs?: number): Promise<void>;
  /** Waits until a request has failed. */
  untilFailed(timeoutMs?: number): Promise<void>;
  /** Ends the traffic, and waits for requests in flight. */
  stop(): Promise<TrafficReport>;
}

/** The methods of a TokenManager that are used, of any copy of the package. */
interface Checking {
  touchToken(token: string): Promise<{ user: { id: string } } | null>;
}

/** @param tokens by the id of their user. */
export function startTraffic(sessions: Checking, tokens: ReadonlyMap<string, string>, { everyMs = 20 } = {}): Traffic {
  const begin = performance.now();
  const report: TrafficReport = {
    served: 0,
    failed: {},
    failedMs: [],
    signedOut: 0,
    mixedUp: 0,
    worstMs: 0,
    worstActiveMs: 0,
    failedFromMs: null,
    failedUntilMs: null,
  };
  const lastServed = new Map<string, number>();
  const inFlight = new Set<Promise<void>>();

  const request = async (userId: string, token: string) => {
    const start = performance.now();
    const elapsedMs = startStopwatch();
    try {
      const session = await sessions.touchToken(token);
      if (session === null) report.signedOut++;
      else if (session.user.id !== userId) report.mixedUp++;
      else {
        report.served++;
        lastServed.set(userId, start);
      }
    } catch (error) {
      const { code = inspect(error) } = error as { code?: string };
      report.failedMs.push(performance.now() - start);
      report.failed[code] = (report.failed[code] ?? 0) + 1;
      report.failedFromMs ??= performance.now() - begin;
      report.failedUntilMs = performance.now() - begin;
    }
    report.worstMs = Math.max(report.worstMs, performance.now() - start);
    report.worstActiveMs = Math.max(report.worstActiveMs, elapsedMs());
  };
  const timer = setInterval(() => {
    for (const [userId, token] of tokens) {
      const call = request(userId, token).finally(() => inFlight.delete(call));
      inFlight.add(call);
    }
  }, everyMs);

  return {
    async untilServed(timeoutMs = 30_000) {
      const now = performance.now();
      const isServed = () => [...tokens.keys()].every((userId) => (lastServed.get(userId) ?? 0) > now);
      await until('every user is served again', isServed, timeoutMs).catch((cause: unknown) => {
        const { failedMs: _, ...seen } = report;
        throw new Error(`not every user is served again; so far ${inspect(seen)}`, { cause });
      });
    },
    async untilFailed(timeoutMs = 30_000) {
      await until('a request has failed', () => report.failedFromMs !== null, timeoutMs);
    },
    async stop() {
      clearInterval(timer);
      await Promise.all(inFlight);
      return report;
    },
  };
}
