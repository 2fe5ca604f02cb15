import { type EndReason, type Store, TokenManager } from 'tokensession';
import { GRACE, type OwnerStep, type RotationPlan, type ThiefStep, type Trip } from './rotation-plan';
import { Random } from './rotation-random';
import type { RewindableStore } from './rotation-stores';
import type { Timeline } from './rotation-timeline';
import { SECRET } from './stores';

/** A token in somebody's hands. */
interface Held {
  token: string;
  gen: number;
  mintedAt: number;
  provedAt: number;
}

/** A token in the browser's cookie jar. */
interface Cookie extends Held {
  /** Whether a token that was made later has been in the jar before: the answers of two rotations overtook each other. */
  isBack: boolean;
}

interface Request {
  sentAt: number;
  sent: Cookie;
  step: OwnerStep;
}

/** Why the owner was signed out though there was no thief. */
export type SignOutCause = 'a slow answer' | 'answers that overtook each other' | 'no reason';

/** What came of a history. */
export interface RotationOutcome {
  /** Of an owner alone; `null` when still signed in. */
  signedOutBy: SignOutCause | null;
  /** `null` without a thief, or when the owner used no token afterwards that was made after the theft. */
  thief: ThiefOutcome | null;
  /** Rules that did not hold. */
  faults: string[];
  log: string[];
}

export interface ThiefOutcome {
  isFound: boolean;
  /** Whether the owner used a token that was made more than a grace after the last one of the thief. */
  isClear: boolean;
  /** Whether the thief has a token of the newest generation that was made within a grace of the owner's. */
  isSibling: boolean;
  /** Answers that the thief got later than a grace after the owner's rotation. */
  answers: number;
}

/** One owner, maybe one thief, one service and its store, from a login until everybody has gone on for a while after the last request. */
export class RotationHistory {
  readonly #plan: RotationPlan;
  readonly #timeline: Timeline;
  readonly #rewindable: RewindableStore;
  readonly #manager: TokenManager;
  readonly #random: Random;
  readonly #userId: string;
  /** What times in real time may be off. */
  readonly #slack: number;
  readonly #log: string[] = [];
  readonly #faults: string[] = [];
  /** All tokens that the owner's browser got, in the order in which they came. */
  readonly #owned: Held[] = [];
  #jar: Cookie | null = null;
  /** New tokens on their way to the browser, by when they were made. */
  readonly #coming = new Set<number>();
  readonly #stolen: Held[] = [];
  #stolenAt: number | null = null;
  #clearedAt: number | null = null;
  #newestUsed: Held | null = null;
  #ownerRotatedAt: number | null = null;
  #lateAnswers = 0;
  #signedOutBy: SignOutCause | null = null;
  #ended: EndReason | null = null;

  constructor(plan: RotationPlan, timeline: Timeline, rewindable: RewindableStore, slack = 0) {
    this.#plan = plan;
    this.#timeline = timeline;
    this.#rewindable = rewindable;
    this.#slack = slack;
    this.#random = new Random(~plan.seed);
    this.#userId = `user ${plan.seed}`;
    this.#manager = new TokenManager({
      store: rewindable.store as Store,
      secret: SECRET,
      rotationGrace: GRACE / 1000,
      rotateEvery: plan.rotateEvery,
    });
  }
}
