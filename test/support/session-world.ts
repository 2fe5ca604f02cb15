import { createHash, createHmac } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { MemoryStore, RedisStore, SessionError, type SessionEvents, type Store, TokenManager } from 'tokensession';
import type { ManagerRules, ModelEvent, ModelToken, SessionModel } from './session-model';
import { shortSeconds } from './short-seconds';
import { randomPrefixes } from './stores';

/** Both verify what the other signs. */
const SECRETS = ['the first of two secrets, with enough to it', 'and this is the second, which is no shorter'] as const;

/** A token as clients hold it, and what it says. */
export interface IssuedToken extends ModelToken {
  token: string;
}

/** How time passes for a store, and how well it can be told. */
export interface WorldClock {
  readonly msPerSecond: number;
  /** Milliseconds that a call may take, and so the times in its answer may be off. */
  readonly slackMs: number;
  now(): Promise<number>;
  pass(ms: number): Promise<void>;
}

export interface Outcome {
  gives?: unknown;
  /** The code of the SessionError, where the call rejected with one. */
  rejects?: string | undefined;
  events: ModelEvent[];
}

const EVENTS: Record<keyof SessionEvents, true> = {
  login: true,
  logout: true,
  replaced: true,
  revoked: true,
  'expired-on-use': true,
  banned: true,
  rotated: true,
  reused: true,
  'store-down': true,
  'store-up': true,
  'slide-failed': true,
  'save-dropped': true,
  'cache-down': true,
  'cache-up': true,
};

/** The real thing: two managers, each with a client of its own, on the same sessions. */
export class SessionWorld {
  readonly managers: readonly TokenManager[];
  readonly tokens: IssuedToken[] = [];
  readonly #events: ModelEvent[] = [];

  constructor(
    stores: readonly [Store, Store],
    readonly clock: WorldClock,
    readonly rules: readonly [ManagerRules, ManagerRules],
  ) {
    this.managers = stores.map((store, index) => {
      const secret = index === 0 ? SECRETS : SECRETS.toReversed();
      const { absoluteTtl, maxSessionsPerDevice, ...given } = rules[index] as ManagerRules;
      const manager = new TokenManager({
        ...given,
        store: shortSeconds(store, clock.msPerSecond),
        secret,
        ...(absoluteTtl !== null && { absoluteTtl }),
        ...(maxSessionsPerDevice !== null && { maxSessionsPerDevice }),
      });
      for (const name of Object.keys(EVENTS) as (keyof SessionEvents)[]) {
        manager.on(name, (event) => this.#events.push([name, event] as ModelEvent));
      }
      return manager;
    });
  }

  /** A token as this manager signs it, made without the package. */
  signed(manager: number, { userId, id, gen, mintedAt, provedAt }: ModelToken): string {
    const tag = createHash('sha256').update(userId).digest('base64url').slice(0, 22);
    const signed = [tag, id, ...[gen, mintedAt, provedAt].map((number) => number.toString(36))].join('.');
    const mac = createHmac('sha256', SECRETS[manager] as string).update(signed);
    return `${signed}.${mac.digest('base64url')}`;
  }

  /** What a token says, and the token: it is one of those that later steps choose from. */
  issue(userId: string, token: string): IssuedToken {
    const [, id, ...numbers] = token.split('.') as [string, string, string, string, string, string];
    const [gen, mintedAt, provedAt] = numbers.slice(0, 3).map((text) => Number.parseInt(text, 36));
    const issued = { userId, id, gen, mintedAt, provedAt, token } as IssuedToken;
    this.tokens.push(issued);
    return issued;
  }

  /**
   * Makes a call when nothing is just about to change by itself, and tells the model when that was. A run in which it
   * took so long that something may have changed meanwhile counts for nothing.
   */
  async call(model: SessionModel, index: number, act: (manager: TokenManager) => Promise<unknown>): Promise<Outcome> {
    const { slackMs } = this.clock;
    await this.#untilNothingIsNear(model);
    this.#events.length = 0;
    let outcome: Omit<Outcome, 'events'>;
    try {
      outcome = { gives: await act(this.managers[index] as TokenManager) };
    } catch (error) {
      if (!(error instanceof SessionError)) throw error;
      outcome = { rejects: error.code };
    }
    fc.pre((await this.clock.now()) - model.now <= slackMs);
    return { ...outcome, events: this.#events.splice(0) };
  }

  async #untilNothingIsNear(model: SessionModel): Promise<void> {
    const { slackMs } = this.clock;
    for (;;) {
      model.now = await this.clock.now();
      if (slackMs === 0) return;
      const near = model.moments(this.rules).filter((moment) => Math.abs(moment - model.now) <= slackMs + 1);
      if (near.length === 0) return;
      await this.clock.pass(Math.max(...near) + slackMs + 2 - model.now);
    }
  }
}

/** What is opened for one property, and holds for all its runs. */
export interface WorldFixture {
  open(rules: readonly [ManagerRules, ManagerRules]): Promise<SessionWorld>;
  close(world: SessionWorld): Promise<void>;
}

export function memoryWorlds(): WorldFixture {
  return {
    async open(rules) {
      let now = 1_700_000_000_000;
      const store = new MemoryStore({ now: () => now });
      const clock: WorldClock = {
        msPerSecond: 1000,
        slackMs: 0,
        now: async () => now,
        pass: async (ms) => {
          now += ms;
        },
      };
      return new SessionWorld([store, store], clock, rules);
    },
    close: async (world) => {
      for (const manager of world.managers) await manager.close();
    },
  };
}

/** How long a second lasts on Redis, whose clock can't be set. */
const SHORT_SECOND_MS = 60;
const REDIS_SLACK_MS = 10;

/** @param time the clock of that Redis, as its command TIME gives it. */
export function redisWorlds(url: string, time: () => Promise<(string | number)[]>): WorldFixture {
  const clock: WorldClock = {
    msPerSecond: SHORT_SECOND_MS,
    slackMs: REDIS_SLACK_MS,
    async now() {
      const [seconds, microseconds] = await time();
      return Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000);
    },
    pass: (ms) => sleep(Math.ceil(ms)),
  };
  return {
    async open(rules) {
      const prefixes = randomPrefixes();
      return new SessionWorld([new RedisStore(url, prefixes), new RedisStore(url, prefixes)], clock, rules);
    },
    close: async (world) => {
      await Promise.all(world.managers.map((manager) => manager.close()));
    },
  };
}
