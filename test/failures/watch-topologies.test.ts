import { RedisStore, TokenManager } from 'tokensession';
import { tagOf } from '../../src/token/token';
import { closeAfterEach } from '../support/closing';
import { type ClusterTopology, startClusterTopology } from '../support/cluster-topology';
import { askInfo, type RedisServer, startRedis } from '../support/redis-server';
import { type SentinelTopology, startSentinelTopology } from '../support/sentinel-topology';
import { PATIENT, randomPrefixes, SECRET } from '../support/stores';
import { until } from '../support/until';

const closing = closeAfterEach();
const USERS = Array.from({ length: 40 }, (_, i) => `user ${i}`);
/** A dead server is detected in this time, and its replica promoted. */
const DOWN_AFTER_MS = 3000;

let cluster: ClusterTopology;
let sentinels: SentinelTopology;
beforeAll(async () => {
  const started = await Promise.allSettled([
    startClusterTopology({ nodeTimeoutMs: DOWN_AFTER_MS }).then((topology) => {
      cluster = topology;
    }),
    startSentinelTopology({ replicas: 1, downAfterMs: DOWN_AFTER_MS }).then((topology) => {
      sentinels = topology;
    }),
  ]);
  for (const outcome of started) if (outcome.status === 'rejected') throw outcome.reason;
});
afterAll(() => Promise.all([cluster, sentinels].map((topology) => topology?.stop())));

type Target = ConstructorParameters<typeof RedisStore>[0];

/** A process that watches a session of each user, and a second process. */
async function watchAll(target: Target) {
  const prefixes = randomPrefixes();
  const open = () => {
    const manager = new TokenManager({
      store: new RedisStore(target, { timeoutMs: 2000, ...prefixes }),
      secret: SECRET,
    });
    closing(() => manager.close());
    return manager;
  };
  const [here, there] = [open(), open()];
  const events: string[] = [];
  for (const name of ['watch-up', 'watch-down'] as const) here.on(name, () => events.push(name));
  const tokens = await Promise.all(USERS.map((user) => there.setToken(user)));
  const signals = tokens.map((token) => here.watch(token));
  await until('all are found live', () => here.watched().length === USERS.length);
  await until('announcements arrive', () => events.includes('watch-up'));
  const kicked = async (index: number) => {
    const signal = signals[index] as AbortSignal;
    await until('a kick is possible', () => there.deleteUserToken(USERS[index] as string, { message: 'bye' }));
    await until('the signal aborts', () => signal.aborted);
    expect(signal.reason).toMatchObject({ endReason: 'revoked', endMessage: 'bye' });
  };
  const abortedCount = () => signals.filter(({ aborted }) => aborted).length;
  return { here, events, signals, kicked, abortedCount, prefixes };
}

/** Kicks before and after a failover; no other signal aborts. */
async function throughFailover(
  target: Target,
  master: (prefixes: { tokenKeyPrefix: string }) => Promise<RedisServer>,
  replaced: (former: RedisServer) => Promise<unknown>,
): Promise<void> {
  const { events, kicked, abortedCount, prefixes } = await watchAll(target);
  await kicked(1);
  const former = await master(prefixes);
  await replaced(former);
  // The announcement of this end may arrive while no connection listens.
  await kicked(2);
  await until('announcements arrive again', () => events.at(-1) === 'watch-up' && events.includes('watch-down'));
  await kicked(3);
  expect(abortedCount()).toBe(3);
}

it('in a Cluster signals abort for users on any node, also after a node has failed', async () => {
  const keyOf = ({ tokenKeyPrefix }: { tokenKeyPrefix: string }) => `${tokenKeyPrefix}:{${tagOf('user 2')}}`;
  let key = '';
  await throughFailover(
    { cluster: cluster.startupNodes },
    async (prefixes) => {
      key = keyOf(prefixes);
      await cluster.untilReplicated();
      return cluster.ownerOf(key);
    },
    async (former) => {
      await former.kill();
      await cluster.untilOwner(key, former);
    },
  );
});

it('behind Sentinels signals abort also after a failover', async () => {
  const topology = sentinels;
  await throughFailover(
    { sentinels: topology.sentinels, name: topology.name },
    async () => {
      await topology.untilReplicated();
      return topology.master();
    },
    async (former) => {
      await former.kill();
      await topology.untilMaster(former);
    },
  );
});

it("a replica answers no query for sessions: its data may be older than the master's", async () => {
  const master = await startRedis({ 'repl-diskless-sync-delay': '0' });
  closing(() => master.stop());
  const replica = await startRedis({ replicaof: [['127.0.0.1', String(master.port)]] });
  closing(() => replica.stop());
  const prefixes = randomPrefixes();
  const store = new RedisStore(master.url, { ...PATIENT, ...prefixes });
  closing(() => store.close());
  const manager = new TokenManager({ store, secret: SECRET });
  const { id } = await manager.createSession('ada');
  await until('the replica has the session', async () => {
    const { master_link_status } = await askInfo(replica, 'INFO', 'replication');
    return master_link_status === 'up' && (await replica.admin.keys(`${prefixes.tokenKeyPrefix}*`)).length > 0;
  });
  const onReplica = new RedisStore(replica.url, { ...PATIENT, ...prefixes });
  closing(() => onReplica.close());
  expect((await store.states(tagOf('ada'), [id])).states).toMatchObject([{ isLive: true }]);
  for (const tag of [tagOf('ada'), tagOf('nobody')]) {
    await expect(onReplica.states(tag, [id])).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
  }
});
