import { inspect } from 'node:util';
import fc from 'fast-check';
import { SessionError, type SessionEvents, type TokenManager } from 'tokensession';
import { idOf } from './session-id';

/*
 * Parallel operations of several callers. Their results depend on the order; the invariants checked afterwards do not.
 */

type Verb =
  | { verb: 'login'; device: string; isReplacing: boolean }
  | { verb: 'logout' | 'check' | 'touch' | 'refresh' | 'rotate' | 'reauthenticate' | 'kick' | 'kickAll' }
  | { verb: 'kickOthers' | 'ban' | 'unban' };

/** One operation: its user, its client, and one of the tokens that exist by then. */
type ParallelStep = Verb & { manager: number; user: string; token: number };

const verb: fc.Arbitrary<Verb> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      verb: fc.constant('login' as const),
      device: fc.constantFrom('web', 'tv'),
      isReplacing: fc.boolean(),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      verb: fc.constantFrom('logout', 'check', 'touch', 'refresh', 'rotate', 'rotate', 'reauthenticate', 'kick'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ verb: fc.constantFrom('kickAll', 'kickOthers', 'ban', 'unban', 'unban') }) },
);

/** Several rows of operations: each row runs in sequence, the rows run in parallel. */
export const parallelRows: fc.Arbitrary<ParallelStep[][]> = fc.array(
  fc.array(
    fc
      .tuple(verb, fc.record({ manager: fc.nat({ max: 1 }), user: fc.constantFrom('ada', 'grace'), token: fc.nat(9) }))
      .map(([what, whose]) => {
        const made = { ...what, ...whose };
        return Object.defineProperty(made, fc.toStringMethod, {
          value: () => inspect(made, { breakLength: Number.POSITIVE_INFINITY }),
        });
      }),
    { minLength: 1, maxLength: 12 },
  ),
  { minLength: 2, maxLength: 6 },
);

/** Runs them all, and records what was promised. */
export class ParallelSessions {
  /** By user, in the order of the calls. */
  readonly tokens = new Map<string, string[]>([
    ['ada', []],
    ['grace', []],
  ]);
  /** Tokens that a call has reported as not live. */
  readonly dead = new Set<string>();
  readonly started = new Set<string>();
  /** Ids of ended sessions, once for each event. */
  readonly ended: string[] = [];
  readonly #managers: readonly TokenManager[];

  constructor(managers: readonly TokenManager[]) {
    this.#managers = managers;
    const end = ({ sessionId }: { sessionId: string }) => this.ended.push(sessionId);
    for (const manager of managers) {
      manager.on('login', ({ sessionId }: SessionEvents['login']) => this.started.add(sessionId));
      for (const name of ['logout', 'replaced', 'revoked'] as const) manager.on(name, end);
      manager.on('reused', (event) => event.ended && end(event));
      manager.on('banned', ({ sessionIds }) => this.ended.push(...sessionIds));
    }
  }

  async run(rows: readonly (readonly ParallelStep[])[]): Promise<void> {
    await Promise.all(
      rows.map(async (row) => {
        for (const step of row) await this.#do(step);
      }),
    );
  }

  async #do(step: ParallelStep): Promise<void> {
    const { user } = step;
    const manager = this.#managers[step.manager] as TokenManager;
    const tokens = this.tokens.get(user) as string[];
    const token = tokens.at(-1 - (step.token % Math.max(1, tokens.length)));
    switch (step.verb) {
      case 'login': {
        const replaces = step.isReplacing && token !== undefined ? [token] : [];
        const login = manager.createSession(user, { attributes: { device: step.device }, replaces });
        const session = await login.catch(refusal);
        if (session === null) return;
        tokens.push(session.token);
        for (const replaced of replaces) this.dead.add(replaced);
        return;
      }
      case 'kickAll':
        await manager.deleteUserToken(user);
        return;
      case 'kickOthers':
        await manager.deleteUserToken(user, { except: token ?? null });
        return;
      case 'ban':
        await manager.banUser(user);
        return;
      case 'unban':
        await manager.unbanUser(user);
        return;
    }
    if (token === undefined) return;
    switch (step.verb) {
      case 'logout':
        await manager.deleteToken(token);
        this.dead.add(token);
        return;
      case 'kick':
        await manager.deleteSession(user, idOf(token));
        this.dead.add(token);
        return;
      case 'rotate': {
        const child = await manager.rotateToken(token);
        if (child === null) this.dead.add(token);
        else tokens.push(child);
        return;
      }
      case 'reauthenticate': {
        const session = await manager.reauthenticateToken(token);
        if (session === null) this.dead.add(token);
        else tokens.push(session.token);
        return;
      }
    }
    const seen = await {
      check: () => manager.checkToken(token),
      touch: () => manager.touchToken(token),
      refresh: () => manager.refreshToken(token),
    }[step.verb]();
    if (!seen) this.dead.add(token);
    else if (seen !== true) expect(seen.user.id).toBe(user);
  }
}

function refusal(error: unknown): null {
  const codes = ['ERR_USER_BANNED', 'ERR_TOO_MANY_SESSIONS'];
  if (error instanceof SessionError && codes.includes(error.code)) return null;
  throw error;
}
