import type { Session } from 'tokensession';
import type { Exchange, History, ThiefStep } from './history';
import type { RotationWorld } from './world';

/** The result of a history. */
export interface RotationOutcome {
  /** Whether a request of the owner found no session. */
  isOwnerSignedOut: boolean;
  /**
   * Whether a sign-out without a thief is explained: two exchanges took longer than the grace in sum, or one response
   * overtook another.
   */
  excuses: Set<'exchanges were slow' | 'rotations overtook each other'>;
  /** How often the session ended for a reuse. */
  reuses: number;
  /** How often a token was live after the session had ended. */
  revivals: number;
  /** How much newer the thief's newest proof is than that of the stolen token, in milliseconds. */
  leakedMs: number;
}

/** Applies one history to one session: an owner with a cookie jar shared by tabs, and maybe a thief. */
export class RotationSimulation {
  readonly #world: RotationWorld;
  readonly #history: History;
  readonly #outcome: RotationOutcome = {
    isOwnerSignedOut: false,
    excuses: new Set(),
    reuses: 0,
    revivals: 0,
    leakedMs: 0,
  };
  #jar = '';
  /** The number of rotations, and the newest one whose response has arrived. */
  #rotations = 0;
  #newestArrived = 0;
  /** The duration of each exchange, in milliseconds. */
  readonly #durations = new Map<Exchange, number>();
  readonly #loot: string[] = [];
  #stolenProof = 0;

  constructor(world: RotationWorld, history: History) {
    this.#world = world;
    this.#history = history;
    world.manager.on('reused', ({ ended }) => {
      if (ended) this.#outcome.reuses++;
    });
  }

  async run(): Promise<RotationOutcome> {
    this.#jar = await this.#world.manager.setToken('ada');
    const start = this.#world.now();
    // Events are added by cause and effect; those of one moment keep that order.
    const events = this.#schedule().toSorted(([a], [b]) => a - b);
    for (const [at, happen] of events) {
      await this.#world.waitUntil(start + (at * this.#world.graceMs) / 10);
      await happen();
    }
    await this.#goOn();
    return this.#outcome;
  }

  #schedule(): [at: number, happen: () => Promise<void>][] {
    const { exchanges, theft, failover } = this.#history;
    const events = exchanges.flatMap((exchange) => this.#scheduleExchange(exchange));
    if (theft !== null) {
      events.push([theft.at, () => this.#steal()]);
      for (const step of theft.steps) events.push([step.at, () => this.#stepOfThief(step)]);
    }
    if (failover !== null) {
      events.push([failover.from, () => this.#world.breakLink(this.#jar)]);
      events.push([failover.to, () => this.#world.failOver(this.#jar)]);
    }
    return events;
  }

  #scheduleExchange(exchange: Exchange): [number, () => Promise<void>][] {
    const { at, kind, there, back, isAnswerLost } = exchange;
    let sent = '';
    let sentAt = 0;
    let answer: string | null = null;
    let number = 0;
    const noteTime = () => {
      this.#durations.set(exchange, this.#world.now() - sentAt);
      const [longest = 0, second = 0] = [...this.#durations.values()].toSorted((a, b) => b - a);
      // Two tokens of one generation are made at most this far apart when their requests overlap.
      if (longest + second > this.#world.graceMs) this.#outcome.excuses.add('exchanges were slow');
    };
    const send = async () => {
      sent = this.#jar;
      sentAt = this.#world.now();
    };
    const handle = async () => {
      answer = await this.#handleOwner(sent, kind);
      if (answer !== null) number = ++this.#rotations;
      noteTime();
    };
    const arrive = async () => {
      noteTime();
      if (answer === null) return;
      if (number < this.#newestArrived) this.#outcome.excuses.add('rotations overtook each other');
      this.#newestArrived = Math.max(this.#newestArrived, number);
      this.#jar = answer;
    };
    return [
      [at, send],
      [at + there, handle],
      ...(isAnswerLost ? [] : [[at + there + back, arrive] as [number, typeof arrive]]),
    ];
  }

  /** The server's work on a request of the owner. Returns the new token in the response, or `null`. */
  async #handleOwner(token: string, kind: Exchange['kind']): Promise<string | null> {
    const session = await this.#use(token);
    if (session === null) this.#outcome.isOwnerSignedOut = true;
    if (session === null || kind === 'use') return null;
    const { manager } = this.#world;
    if (kind === 'rotate') return manager.rotateToken(token);
    return (await manager.reauthenticateToken(token))?.token ?? null;
  }

  async #use(token: string): Promise<Session | null> {
    const hasEnded = this.#outcome.reuses > 0;
    const session = await this.#world.manager.touchToken(token);
    if (session !== null && hasEnded) this.#outcome.revivals++;
    return session;
  }

  async #steal(): Promise<void> {
    const session = await this.#world.manager.checkToken(this.#jar);
    this.#loot.push(this.#jar);
    // A session that has ended shows nothing more.
    this.#stolenProof = session?.authenticatedAt.getTime() ?? Number.POSITIVE_INFINITY;
  }

  async #stepOfThief({ kind, token: which }: ThiefStep): Promise<void> {
    const token = this.#loot[which % this.#loot.length] as string;
    if (kind === 'use') {
      this.#noteProof(await this.#use(token));
      return;
    }
    const child = await this.#world.manager.rotateToken(token);
    if (child === null) return;
    this.#loot.push(child);
    this.#noteProof(await this.#world.manager.checkToken(child));
  }

  #noteProof(session: Session | null): void {
    const proof = session?.authenticatedAt.getTime() ?? 0;
    this.#outcome.leakedMs = Math.max(this.#outcome.leakedMs, proof - this.#stolenProof);
  }

  /** Owner and thief both continue, slowly, after another rotation of the owner. */
  async #goOn(): Promise<void> {
    const { theft } = this.#history;
    await this.#pause();
    this.#jar = (await this.#handleOwner(this.#jar, 'rotate')) ?? this.#jar;
    await this.#handleOwner(this.#jar, 'use');
    await this.#pause();
    if (theft !== null) await this.#stepOfThief({ at: 0, kind: 'use', token: theft.lastToken });
    await this.#pause();
    await this.#handleOwner(this.#jar, 'use');
    for (const token of this.#loot) await this.#use(token);
  }

  /** Waits until the grace of every request has passed. */
  async #pause(): Promise<void> {
    await this.#world.waitUntil(this.#world.now() + this.#world.graceMs + 1);
  }
}
