import type { ClusterSettings, Durability, SentinelSettings } from 'tokensession';
import type { ForeignEntry, SessionEntry, UserEntry } from './book';
import type { CacheRecord } from './cache-diary';
import type { Tally } from './tally';
import type { VisitEntry } from './visits';
import type { WaitSummary } from './waits';

/** What the near cache of a worker promises by. */
export interface CachePromise {
  maxAgeMs: number;
  heartbeatMs: number;
}

/** What a worker is to do. */
export interface Orders {
  /** What its users' ids begin with: nobody else writes to them. */
  name: string;
  target: SentinelSettings | ClusterSettings;
  /** Of the servers, until there is news of another. */
  password: string;
  secret: string;
  timeoutMs: number;
  durability: Durability | null;
  /** `null`: it asks Redis each time. */
  cache: CachePromise | null;
  /** Seconds for which a former token stays good. */
  rotationGrace: number;
  users: number;
  operationsPerSecond: number;
  /** After this many milliseconds it stops by itself, whatever happens to the parent. */
  maxMs: number;
}

/** A token whose login was acknowledged, and the user it must lead to. */
export type DealtToken = readonly [token: string, userId: string];

/** What the others are told of a worker's users. */
export interface News {
  /** When it was sent. */
  at: number;
  loggedIn: readonly DealtToken[];
  /** Tokens to which clients have gone on. */
  rotated: readonly string[];
  /** Tokens whose sessions have ended. */
  ended: readonly string[];
}

export type ToWorker =
  | { tell: 'begin'; orders: Orders }
  | { tell: 'news'; news: News }
  | { tell: 'password'; password: string }
  /** Block the event loop for so long. */
  | { tell: 'block'; ms: number }
  /** Stop the load, and give the record. */
  | { tell: 'drain' }
  /** Close the manager and end. */
  | { tell: 'close' };

export type ToParent =
  | { tell: 'ready' }
  | { tell: 'news'; news: News }
  | { tell: 'unblocked' }
  | { tell: 'record'; record: WorkerRecord }
  | { tell: 'closed'; crashes: string[]; isCacheUp: boolean };

/** A session that the manager of a worker ended because a former token of it was used. */
export interface FoundReuse {
  sessionId: string;
  at: number;
}

/** All that a worker has written down. */
export interface WorkerRecord {
  name: string;
  isDurable: boolean;
  sessions: SessionEntry[];
  users: UserEntry[];
  foreign: ForeignEntry[];
  visits: VisitEntry[];
  /** Answers that belonged to somebody else than the token. */
  mixUps: string[];
  /** Rejections that are no SessionError of status 503. */
  unexpected: string[];
  reuses: FoundReuse[];
  /** Unhandled rejections, uncaught exceptions and warnings of the process. */
  crashes: string[];
  tally: Tally;
  waits: WaitSummary;
  /** `null` for a worker without a near cache. */
  cache: CacheRecord | null;
  memory: { rssBefore: number; rssAfter: number; heapBefore: number; heapAfter: number };
  /** Open TCP connections when the load had run for a while, and at its end. */
  sockets: { before: number; after: number };
}
