import fc from 'fast-check';
import type { NewSession, Session, SessionAttributes, TokenManager } from 'tokensession';
import { requestSessionsOf } from '../../../src/manager/token-manager';
import { replay } from '../runs';
import { entries, readAll, readsAndWrites } from './data-steps';
import {
  compare,
  compareAbsence,
  compareToken,
  manager,
  publicView,
  reasonView,
  rulesOf,
  type Step,
  seconds,
  step,
  tokenIndex,
  tokenOf,
  tokenStep,
  USERS,
  usedView,
  user,
  wholeView,
} from './model-step';
import type { LoginRequest, ManagerRules, ModelSession, SessionModel } from './session-model';
import type { IssuedToken, SessionWorld } from './session-world';
import { checkLoad, loads } from './user-info-steps';
import { keptData, readKept, visits } from './visitor-steps';

const DEVICES = ['web', 'tv', 'dävice "🙂"', '', undefined] as const;

const attributes: fc.Arbitrary<SessionAttributes> = fc
  .record({ device: fc.constantFrom(...DEVICES), ip: fc.constantFrom('::1', undefined) })
  .map(({ device, ip }) => ({ ...(device !== undefined && { device }), ...(ip !== undefined && { ip }) }));
const text = fc.option(fc.constantFrom('bye', 'two: of\nthem', '🙂'), { nil: undefined });

/** Shares of the grace: within it, beyond it in sum, and beyond it. */
const shares = fc.constantFrom(0, 0.4, 0.7, 0.95, 1.1, 2.5);
const siblings = {
  manager,
  token: tokenIndex,
  waits: fc.array(shares, { minLength: 3, maxLength: 3 }),
  first: fc.nat({ max: 1 }),
  second: fc.nat({ max: 2 }),
};

const anyRules: fc.Arbitrary<ManagerRules> = fc.record({
  ttl: fc.constantFrom(3600, 3, 1),
  visitorTtl: fc.constantFrom(3600, 2),
  slideEvery: fc.constantFrom(0, 1, 3600),
  absoluteTtl: fc.constantFrom(null, 2, 3600),
  singleMode: fc.constantFrom(false, false, false, true),
  maxSessions: fc.constantFrom(100, 1, 2, 3),
  maxSessionsPerDevice: fc.constantFrom(null, 1, 2, { web: 1 }, { web: 2, tv: 1 }),
  onLimit: fc.constantFrom('replace', 'reject'),
  rotationGrace: fc.constantFrom(10, 0, 1, 3600),
  onReuse: fc.constantFrom('end-session', 'ignore'),
});

export const rules = anyRules.map((some) => (some.singleMode ? { ...some, maxSessions: 1 } : some));

/** Sequences of all operations. `wait` generates the seconds for which time passes. */
export function steps(wait: fc.Arbitrary<number>, maxSteps: number): fc.Arbitrary<Iterable<Step>> {
  const weighted = [
    { weight: 8, arbitrary: logins },
    { weight: 3, arbitrary: wait.map(waiting) },
    ...[...verbsOnTokens, ...verbsOnUsers, ...readsAndWrites, ...visits, ...loads].map((arbitrary) => ({
      weight: 1,
      arbitrary,
    })),
  ];
  return fc.commands([fc.oneof(...weighted)], { maxCommands: maxSteps, size: 'max', ...replay() });
}

/** Compares every token, its data and user info, and every list with the model. */
export async function compareAll(model: SessionModel, world: SessionWorld): Promise<void> {
  for (let index = 0; index < world.tokens.length; index++) {
    await inspectStep(0, index, false).run(model, world);
    await readAll(1, index).run(model, world);
    await checkLoad(1, index).run(model, world);
  }
  const mayBeHeld = model.idsWithData;
  for (const id of await world.heldData()) expect(mayBeHeld).toContain(id);
  for (const userId of USERS) {
    await listStep(1, userId).run(model, world);
    await getBanStep(1, userId).run(model, world);
  }
}

const waiting = (amount: number) =>
  step('wait', { seconds: amount }, (_model, { clock }) => clock.pass(amount * clock.msPerSecond));

const logins = fc
  .record({
    manager,
    user,
    attributes,
    ttl: fc.option(seconds, { nil: undefined }),
    absoluteTtl: fc.option(seconds, { nil: undefined, freq: 3 }),
    replaces: fc.oneof({ weight: 3, arbitrary: fc.constant<number[]>([]) }, fc.array(tokenIndex, { maxLength: 3 })),
    actor: fc.option(fc.constant('admin-7'), { nil: undefined }),
    data: fc.option(entries, { nil: undefined, freq: 1 }),
    keep: fc.option(keptData, { nil: undefined, freq: 1 }),
    isBare: fc.boolean(),
  })
  .map((given) =>
    step('login', given, async (model, world) => {
      const { manager: index, user: userId, ttl, absoluteTtl, attributes, actor, isBare } = given;
      const replaced = isBare ? [] : given.replaces.flatMap((which) => tokenOf(world, which) ?? []);
      const kept = isBare || given.keep === undefined ? undefined : tokenOf(world, given.keep.token);
      let data = isBare ? undefined : given.data;
      let inherits: NewSession['inherits'];
      if (kept !== undefined) {
        replaced.push(kept);
        const keys = given.keep?.keys ?? [];
        const isOwn = kept.userId === userId;
        if (isOwn) inherits = { sid: kept.id, keys };
        const isLive = model.live(userId).some(({ id }) => id === kept.id);
        const inherited = () => (isLive ? new Map(model.dataOf(kept).read(keys)) : new Map());
        data = isOwn ? inherited() : await readKept(model, world, index, kept, keys);
      }
      const login: LoginRequest = {
        attributes,
        replaces: replaced,
        ...(ttl !== undefined && { ttl }),
        ...(absoluteTtl !== undefined && !isBare && { absoluteTtl }),
        ...(actor !== undefined && !isBare && { actor }),
        ...(data !== undefined && { data }),
      };
      const { data: _, ...options } = { ...login, replaces: replaced.map(({ token }) => token) };
      const outcome = await world.call(model, index, async (sessions) => {
        if (isBare) return sessions.setToken(userId, ttl, attributes);
        return data === undefined
          ? sessions.createSession(userId, options)
          : (await requestSessionsOf(sessions).start(userId, options, inherits === undefined ? { data } : { inherits }))
              .token;
      });
      const admitted = model.admit(userId, login, rulesOf(world, index));
      if ('code' in admitted || outcome.rejects !== undefined) {
        return compare(world, outcome, { rejects: 'code' in admitted ? admitted.code : undefined, events: [] });
      }
      const isWhole = typeof outcome.gives !== 'string';
      const token = isWhole ? (outcome.gives as { token: string }).token : outcome.gives;
      const issued = world.issue(userId, token as string);
      compareToken(world, index, issued, { ...issued, gen: 0, mintedAt: model.now, provedAt: model.now });
      const events = model.login(issued, login, rulesOf(world, index));
      const session = model.live(userId).find(({ id }) => id === issued.id) as ModelSession;
      compare(world, outcome, { gives: isWhole ? wholeView(model, session, issued) : issued.token, events });
    }),
  );

const verbsOnTokens: fc.Arbitrary<Step>[] = [
  onToken('checkToken', fc.constant({}), (sessions, token) => sessions.checkToken(token), wholeView),
  onToken(
    'touchToken',
    fc.constant({}),
    (sessions, token) => sessions.touchToken(token),
    (model, session, token, given) => {
      model.use(session, token, given.rules);
      return usedView(model, session, token);
    },
  ),
  onToken(
    'refreshToken',
    fc.record({ ttl: fc.option(seconds, { nil: undefined }) }),
    (sessions, token, { ttl }) => sessions.refreshToken(token, ttl),
    (model, session, token, { ttl }) => {
      model.refresh(session, token, ttl ?? null);
      return true;
    },
    false,
  ),
  fc.tuple(manager, tokenIndex, fc.boolean()).map(([index, which, touch]) => inspectStep(index, which, touch)),
  ...(['rotateToken', 'rotateToken', 'reauthenticateToken'] as const).map((name) =>
    fc.tuple(manager, tokenIndex).map(([index, which]) => childStep(name, index, which)),
  ),
  fc.record(siblings).map(siblingsStep),
  fc.record(siblings).map(siblingsStep),
  fc.tuple(manager, tokenIndex).map(([index, which]) =>
    tokenStep('deleteToken', { manager: index, token: which }, async (model, world, issued) => {
      const outcome = await world.call(model, index, (sessions) => sessions.deleteToken(issued.token));
      const { wasLive, events } = model.logout(issued);
      compare(world, outcome, { gives: wasLive, events });
    }),
  ),
];

const verbsOnUsers: fc.Arbitrary<Step>[] = [
  fc.tuple(manager, user).map(([index, userId]) => listStep(index, userId)),
  fc.tuple(manager, user).map(([index, userId]) =>
    step('listUserToken', { manager: index, user: userId }, async (model, world) => {
      const outcome = await world.call(model, index, (sessions) => sessions.listUserToken(userId));
      compare(world, outcome, {
        gives: model.live(userId).map(({ newest }) => world.signed(index, newest)),
        events: [],
      });
    }),
  ),
  fc
    .record({ manager, user, except: fc.option(fc.record({ token: tokenIndex, byId: fc.boolean() })), message: text })
    .map((given) =>
      step('deleteUserToken', given, async (model, world) => {
        const { user: userId, except, message } = given;
        const kept = except === null ? undefined : tokenOf(world, except.token);
        const named = except?.byId ? kept?.id : kept?.token;
        const options = { message, ...(named !== undefined && { except: named }) };
        const outcome = await world.call(model, given.manager, (all) => all.deleteUserToken(userId, options));
        const { count, events } = model.kickAll(userId, kept?.userId === userId ? kept.id : null, message ?? null);
        compare(world, outcome, { gives: count, events });
      }),
    ),
  fc.record({ manager, user, session: tokenIndex, message: text }).map((given) =>
    tokenStep('deleteSession', { ...given, token: given.session }, async (model, world, { id }) => {
      const { user: userId, message } = given;
      const outcome = await world.call(model, given.manager, (all) => all.deleteSession(userId, id, { message }));
      const { wasLive, events } = model.kick(userId, id, message ?? null);
      compare(world, outcome, { gives: wasLive, events });
    }),
  ),
  fc.record({ manager, user, seconds: fc.option(seconds, { nil: undefined }), reason: text }).map((given) =>
    step('banUser', given, async (model, world) => {
      const { user: userId, seconds: lasting, reason } = given;
      const options = { seconds: lasting, reason };
      const outcome = await world.call(model, given.manager, (sessions) => sessions.banUser(userId, options));
      const { count, events } = model.ban(userId, lasting ?? null, reason ?? null);
      compare(world, outcome, { gives: count, events });
    }),
  ),
  ...[1, 2].map(() =>
    fc.tuple(manager, user).map(([index, userId]) =>
      step('unbanUser', { manager: index, user: userId }, async (model, world) => {
        const outcome = await world.call(model, index, (sessions) => sessions.unbanUser(userId));
        compare(world, outcome, { gives: model.unban(userId), events: [] });
      }),
    ),
  ),
  fc.tuple(manager, user).map(([index, userId]) => getBanStep(index, userId)),
];

function inspectStep(index: number, which: number, touch: boolean): Step {
  return tokenStep('inspectToken', { manager: index, token: which, touch }, async (model, world, issued) => {
    const outcome = await world.call(model, index, (sessions) => sessions.inspectToken(issued.token, { touch }));
    const seen = model.look(issued, rulesOf(world, index));
    if (!('session' in seen)) return compareAbsence(world, outcome, seen, reasonView);
    if (touch) model.use(seen.session, issued, rulesOf(world, index));
    const view = touch ? usedView : wholeView;
    compare(world, outcome, { gives: { session: view(model, seen.session, issued) }, events: [] });
  });
}

/** A method that issues a child of the token, which may be used at once, late or never. */
function childStep(name: 'rotateToken' | 'reauthenticateToken', index: number, which: number): Step {
  return tokenStep(name, { manager: index, token: which }, async (model, world, issued) => {
    const outcome = await world.call(model, index, (sessions) => sessions[name](issued.token));
    const seen = model.look(issued, rulesOf(world, index));
    if (!('session' in seen)) return compareAbsence(world, outcome, seen, () => null);
    const { session } = seen;
    const { userId, id } = issued;
    const given = name === 'rotateToken' ? outcome.gives : (outcome.gives as Session | null)?.token;
    expect(given).toEqual(expect.any(String));
    const child = world.issue(userId, given as string);
    compareToken(world, index, child, model.childOf(issued, session, name === 'rotateToken' ? 'inherited' : 'now'));
    const gives = name === 'rotateToken' ? child.token : wholeView(model, session, child);
    compare(world, outcome, { gives, events: [['rotated', { userId, sessionId: id }]] });
  });
}

/** Uses two children of one token: 0 is the younger, 1 the older, 2 their parent. Waits are shares of the grace. */
function siblingsStep(given: { manager: number; token: number; waits: number[]; first: number; second: number }): Step {
  return tokenStep('siblings', given, async (model, world) => {
    const { manager: index, token, waits, first, second } = given;
    const pass = (share = 0) => waiting(Math.min(world.clock.longestWait, share * rulesOf(world, index).rotationGrace));
    const count = world.tokens.length;
    // From here on tokens are counted from the newest, and each child adds one.
    const parent = token % count;
    await childStep('rotateToken', index, parent).run(model, world);
    await pass(waits[0]).run(model, world);
    await childStep('rotateToken', index, parent + world.tokens.length - count).run(model, world);
    const places = world.tokens.length === count + 2 ? [0, 1, parent + 2] : [parent];
    for (const [place, wait] of [
      [first, waits[1]],
      [second, waits[2]],
    ] as const) {
      await pass(wait).run(model, world);
      await inspectStep(index, places[place % places.length] as number, true).run(model, world);
    }
  });
}

function listStep(index: number, userId: string): Step {
  return step('listUserSessions', { manager: index, user: userId }, async (model, world) => {
    const outcome = await world.call(model, index, (sessions) => sessions.listUserSessions(userId));
    compare(world, outcome, { gives: model.live(userId).map((live) => publicView(model, live)), events: [] });
  });
}

function getBanStep(index: number, userId: string): Step {
  return step('getBan', { manager: index, user: userId }, async (model, world) => {
    const outcome = await world.call(model, index, (sessions) => sessions.getBan(userId));
    const ban = model.banOf(userId);
    const gives = ban && {
      since: new Date(ban.since),
      until: ban.until === null ? null : new Date(ban.until),
      ...(ban.reason !== null && { reason: ban.reason }),
    };
    compare(world, outcome, { gives, events: [] });
  });
}

/** A method on one session that returns a part of it, or `absent` if it is not live. */
function onToken<Given extends object>(
  name: string,
  more: fc.Arbitrary<Given>,
  act: (sessions: TokenManager, token: string, given: Given) => Promise<unknown>,
  change: (
    model: SessionModel,
    live: ModelSession,
    token: IssuedToken,
    given: Given & { rules: ManagerRules },
  ) => unknown,
  absent: unknown = null,
): fc.Arbitrary<Step> {
  return fc.tuple(manager, tokenIndex, more).map(([index, which, given]) =>
    tokenStep(name, { manager: index, token: which, ...given }, async (model, world, issued) => {
      const outcome = await world.call(model, index, (sessions) => act(sessions, issued.token, given));
      const seen = model.look(issued, rulesOf(world, index));
      if (!('session' in seen)) return compareAbsence(world, outcome, seen, () => absent);
      const gives = change(model, seen.session, issued, { ...given, rules: rulesOf(world, index) });
      compare(world, outcome, { gives, events: [] });
    }),
  );
}
