import { inspect } from 'node:util';
import { startStopwatch } from './stopwatch';
import { until } from './until';

/** What requests got while there was traffic. */
export interface TrafficReport {
  served: number;
  /** Failures by their code. */
  failed: Record<string, number>;
  /** How long each failed call took, in milliseconds. */
  failedMs: number[];
  /** Live sessions that were called "not signed in". */
  signedOut: number;
  /** Answers that were another user's. */
  mixedUp: number;
  /** The longest that a call took, in milliseconds. */
  worstMs: number;
  /** The same, of the milliseconds in which this process could act: what a deadline allows for. */
  worstActiveMs: number;
  /**
   * Milliseconds from the beginning to the first and to the last moment at which a call had failed; `null` for none.
   */
  failedFromMs: number | null;
  failedUntilMs: number | null;
}

/** Requests of signed-in users at a steady rate, whatever becomes of the earlier ones. */
export interface Traffic {
  /** Waits until every user has been served by a request that began after this call. */
  untilServed(timeoutMs?: number): Promise<void>;
  /** Waits until some request has failed. */
  untilFailed(timeoutMs?: number): Promise<void>;
  /** Ends the traffic, and waits for what is under way. */
  stop(): Promise<TrafficReport>;
}

/** What of a TokenManager is asked: of whichever copy of the package. */
interface Checking {
  touchToken(token: string): Promise<{ user: { id: string } } | null>;
}

/** @param tokens by the id of the user they belong to. */
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
  const underWay = new Set<Promise<void>>();

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
      const call = request(userId, token).finally(() => underWay.delete(call));
      underWay.add(call);
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
      await Promise.all(underWay);
      return report;
    },
  };
}
