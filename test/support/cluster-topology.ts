import {
  ask,
  askInfo,
  freePort,
  type RedisConfig,
  type RedisServer,
  type ServerTls,
  startAll,
  startRedis,
} from './redis-server';
import { startProxy, type TcpProxy } from './tcp-proxy';
import { until } from './until';

export interface ClusterTopologyOptions {
  /** Default 3. */
  masters?: number;
  /** Of all masters together. Default 3. */
  replicas?: number;
  /** Nodes that own nothing and follow nobody, until slots are moved to them. Default 0. */
  spares?: number;
  /** Whether what the nodes tell each other can be kept from arriving, see `breakBus`. Default false. */
  hasBreakableBus?: boolean;
  /** How long a node may be silent before the others take it for down. Default 2000, for busy machines. */
  nodeTimeoutMs?: number;
  /** Of every node, which all know each other's. */
  password?: string;
  /** The address of all nodes. Default `127.0.0.1`. */
  host?: string;
  /** Makes every node speak TLS only. */
  tls?: ServerTls;
  settings?: RedisConfig;
}

/** A Redis Cluster: real processes on loopback. */
export interface ClusterTopology {
  /** The first ones are the masters to begin with. */
  readonly nodes: RedisServer[];
  /** What a client is given. */
  readonly startupNodes: { host: string; port: number }[];
  readonly nodeTimeoutMs: number;
  slotOf(key: string): Promise<number>;
  /** The node that is up and owns the key's slot. While there is none, it waits for a promotion. */
  ownerOf(key: string): Promise<RedisServer>;
  /** The nodes that are up and own slots. */
  masters(): Promise<RedisServer[]>;
  /** A node that is up and follows that master. */
  replicaOf(master: RedisServer): Promise<RedisServer>;
  /** Waits for a promotion: another node owns the key's slot, and takes requests. */
  untilOwner(key: string, otherThan: RedisServer): Promise<RedisServer>;
  /** Waits until every replica that is up has what its master has. */
  untilReplicated(): Promise<void>;
  /** Waits until every node is up, all agree on who owns what, and every replica is linked to its master. */
  untilHealed(): Promise<void>;
  /** From now on the slot's missing keys are ASKed of the other node. */
  beginMigration(slot: number, from: RedisServer, to: RedisServer): Promise<void>;
  /** Moves these keys, or all that the slot has. */
  migrateKeys(slot: number, from: RedisServer, to: RedisServer, keys?: readonly string[]): Promise<void>;
  /** Makes the other node the owner, and waits until all that are up know. */
  endMigration(slot: number, from: RedisServer, to: RedisServer): Promise<void>;
  /**
   * From now on no node hears of another, of which they know after their timeout. Clients reach them all, and so does
   * MIGRATE.
   */
  breakBus(): void;
  stop(): Promise<void>;
}

const SLOTS = 16_384;
const CLUSTER_BUS = 10_000;
const PROMOTION_MS = 60_000;
const HEALING_MS = 60_000;
const MIGRATE_MS = 15_000;
const MIGRATE_KEYS = 100;

export async function startClusterTopology(options: ClusterTopologyOptions = {}): Promise<ClusterTopology> {
  const { masters = 3, replicas = 3, spares = 0, nodeTimeoutMs = 2000, password, settings } = options;
  const { host = '127.0.0.1', tls } = options;
  const listening = { host, ...(tls !== undefined && { tls }) };
  const config: RedisConfig = {
    'cluster-enabled': 'yes',
    'cluster-node-timeout': String(nodeTimeoutMs),
    'cluster-require-full-coverage': 'no',
    'cluster-announce-ip': host,
    'repl-diskless-sync-delay': '0',
    'repl-ping-replica-period': '1',
    ...(password === undefined ? {} : { requirepass: password, masterauth: password }),
    ...settings,
  };
  const buses: TcpProxy[] = [];
  const start = async () => {
    if (!options.hasBreakableBus) return startRedis(config, listening);
    const port = await freePort({ clusterBus: true });
    const bus = await startProxy(port + CLUSTER_BUS);
    buses.push(bus);
    return startRedis({ ...config, 'cluster-announce-bus-port': String(bus.port) }, { port, ...listening });
  };
  const nodes: RedisServer[] = [];
  const stop = async () => {
    await Promise.all([...nodes, ...buses].map((opened) => opened.stop()));
  };
  try {
    nodes.push(...(await startAll(Array.from({ length: masters + replicas + spares }, start))));
    const ids = await join(nodes, masters, replicas);
    const upNodes = () => nodes.filter((node) => node.isUp);
    const views = () => Promise.all(upNodes().map(viewOf));
    const idOf = (node: RedisServer) => ids.get(node) as string;
    const ownerOfSlot = async (slot: number) => ownerIn(await views(), slot);

    const topology: ClusterTopology = {
      nodes,
      startupNodes: nodes.map(({ port }) => ({ host, port })),
      nodeTimeoutMs,
      slotOf: (key) => until(`a node knows the slot of ${key}`, () => slotOf(key, upNodes())).then(Number),
      async ownerOf(key) {
        const slot = await topology.slotOf(key);
        return until(`a living node owns slot ${slot}`, () => ownerOfSlot(slot), PROMOTION_MS);
      },
      async masters() {
        const seen = await views();
        return seen
          .filter(({ node, own }) => own.slots.some((slot) => ownerIn(seen, slot) === node))
          .map(({ node }) => node);
      },
      replicaOf: (master) =>
        until(`a replica follows ${master.port}`, async () => {
          const seen = await views();
          return seen.find(({ own }) => own.masterId === idOf(master))?.node;
        }),
      async untilOwner(key, otherThan) {
        const slot = await topology.slotOf(key);
        return until(
          `another node than ${otherThan.port} owns slot ${slot}`,
          async () => {
            const owner = await ownerOfSlot(slot);
            return owner !== otherThan && owner !== undefined && (await isServing(owner)) ? owner : undefined;
          },
          PROMOTION_MS,
        );
      },
      async untilReplicated() {
        await until('the replicas have what their masters have', async () => {
          const seen = await views();
          const offsets = new Map<string, number>();
          for (const { node } of seen) {
            const info = await askInfo(node, 'INFO', 'replication');
            if (info.role === 'master') offsets.set(idOf(node), Number(info.master_repl_offset));
          }
          const caughtUp = seen.map(async ({ node, own }) => {
            const offset = offsets.get(own.masterId ?? '');
            return offset === undefined || offset <= (await linkedOffset(node));
          });
          return (await Promise.all(caughtUp)).every(Boolean);
        });
      },
      async untilHealed() {
        await until('every node is up and they agree', () => isHealed(nodes, masters, replicas), HEALING_MS);
      },
      async beginMigration(slot, from, to) {
        await ask(to, 'CLUSTER', 'SETSLOT', slot, 'IMPORTING', idOf(from));
        await ask(from, 'CLUSTER', 'SETSLOT', slot, 'MIGRATING', idOf(to));
      },
      async migrateKeys(slot, from, to, keys) {
        const auth = password === undefined ? [] : ['AUTH', password];
        const migrate = (some: readonly string[]) =>
          ask(from, 'MIGRATE', host, to.port, '', 0, MIGRATE_MS, ...auth, 'KEYS', ...some);
        if (keys !== undefined) {
          if (keys.length > 0) await migrate(keys);
          return;
        }
        for (;;) {
          const some = await ask<string[]>(from, 'CLUSTER', 'GETKEYSINSLOT', slot, MIGRATE_KEYS);
          if (some.length === 0) return;
          await migrate(some);
        }
      },
      async endMigration(slot, from, to) {
        // The target first: were it the last, both would send a client to the other one for a moment.
        const others = (await topology.masters()).filter((node) => node !== from && node !== to);
        for (const node of [to, from, ...others]) await ask(node, 'CLUSTER', 'SETSLOT', slot, 'NODE', idOf(to));
        await until(`all know the new owner of slot ${slot}`, async () =>
          (await views()).every((view) => view.owners[slot] === idOf(to)),
        );
      },
      breakBus() {
        for (const bus of buses) bus.swallow();
      },
      stop,
    };
    await topology.untilHealed();
    return topology;
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Gives masters their slots, makes the nodes known to each other, and gives masters their replicas. */
async function join(nodes: RedisServer[], masters: number, replicas: number): Promise<Map<RedisServer, string>> {
  const ids = new Map<RedisServer, string>();
  await Promise.all(
    nodes.map(async (node, index) => {
      ids.set(node, await ask<string>(node, 'CLUSTER', 'MYID'));
      // Else all begin with the same, and settle it one after the other.
      await ask(node, 'CLUSTER', 'SET-CONFIG-EPOCH', index + 1);
      if (index >= masters) return;
      const first = Math.ceil((SLOTS * index) / masters);
      const end = Math.ceil((SLOTS * (index + 1)) / masters);
      await ask(node, 'CLUSTER', 'ADDSLOTS', ...Array.from({ length: end - first }, (_, offset) => first + offset));
    }),
  );
  await Promise.all(
    nodes.flatMap((node, index) =>
      nodes
        .slice(index + 1)
        .map(async (other) => ask(node, 'CLUSTER', 'MEET', other.host, other.port, await busPortOf(other))),
    ),
  );
  await Promise.all(
    nodes.slice(masters, masters + replicas).map(async (replica, index) => {
      const master = nodes[index % masters] as RedisServer;
      await until(`${replica.port} knows its master`, () =>
        ask(replica, 'CLUSTER', 'REPLICATE', ids.get(master) ?? ''),
      );
    }),
  );
  return ids;
}

/** Where a node says that the others reach it. */
async function busPortOf(node: RedisServer): Promise<number> {
  const [, announced = '0'] = await ask<string[]>(node, 'CONFIG', 'GET', 'cluster-announce-bus-port');
  return announced === '0' ? node.port + CLUSTER_BUS : Number(announced);
}

/** A line of CLUSTER NODES. */
interface NodeLine {
  readonly id: string;
  readonly flags: readonly string[];
  readonly masterId: string | undefined;
  readonly epoch: number;
  readonly isConnected: boolean;
  readonly slots: readonly number[];
}

/** What a node knows of its cluster. */
interface View {
  readonly node: RedisServer;
  readonly own: NodeLine;
  readonly lines: readonly NodeLine[];
  /** By slot, the owner's id. */
  readonly owners: readonly (string | undefined)[];
}

async function viewOf(node: RedisServer): Promise<View> {
  const text = await ask<string>(node, 'CLUSTER', 'NODES');
  const lines = text.trim().split('\n').map(parseNode);
  const owners: (string | undefined)[] = new Array(SLOTS).fill(undefined);
  for (const line of lines) for (const slot of line.slots) owners[slot] = line.id;
  const own = lines.find(({ flags }) => flags.includes('myself'));
  if (own === undefined) throw new Error(`${node.port} does not know itself`);
  return { node, own, lines, owners };
}

function parseNode(line: string): NodeLine {
  const [id = '', , flags = '', masterId, , , epoch, link, ...ranges] = line.split(' ');
  return {
    id,
    flags: flags.split(','),
    masterId: masterId === '-' ? undefined : masterId,
    epoch: Number(epoch),
    isConnected: link === 'connected',
    // In brackets are those that are being migrated.
    slots: ranges.filter((range) => !range.startsWith('[')).flatMap(parseRange),
  };
}

function parseRange(range: string): number[] {
  const [first, last = first] = range.split('-').map(Number);
  return Array.from({ length: Number(last) - Number(first) + 1 }, (_, offset) => Number(first) + offset);
}

/**
 * Of those that take themselves for the owner the one with the latest claim: a master that was away hasn't heard yet.
 */
function ownerIn(views: readonly View[], slot: number): RedisServer | undefined {
  return views
    .filter(({ own, owners }) => owners[slot] === own.id)
    .reduce<View | undefined>(
      (latest, view) => (latest && latest.own.epoch > view.own.epoch ? latest : view),
      undefined,
    )?.node;
}

async function slotOf(key: string, nodes: readonly RedisServer[]): Promise<string | undefined> {
  const [node] = nodes;
  // As text, since 0 is a slot, too.
  return node && String(await ask<number>(node, 'CLUSTER', 'KEYSLOT', key));
}

async function isServing(node: RedisServer): Promise<boolean> {
  const { role } = await askInfo(node, 'INFO', 'replication');
  const { cluster_state } = await askInfo(node, 'CLUSTER', 'INFO');
  return role === 'master' && cluster_state === 'ok';
}

async function linkedOffset(replica: RedisServer): Promise<number> {
  const info = await askInfo(replica, 'INFO', 'replication');
  return info.master_link_status === 'up' ? Number(info.slave_repl_offset) : -1;
}

async function isHealed(nodes: readonly RedisServer[], masters: number, replicas: number): Promise<boolean> {
  const views = await Promise.all(nodes.map(viewOf));
  const owners = views.map((view) => view.owners.join());
  const agree =
    owners.every((list) => list === owners[0]) &&
    views.every(
      ({ lines }) =>
        lines.length === nodes.length &&
        lines.every(({ flags, isConnected }) => isConnected && !flags.some((flag) => BAD_FLAGS.has(flag))),
    );
  if (!agree) return false;

  const owning = new Set(views[0]?.owners);
  const spares = nodes.length - masters - replicas;
  const wellRoled = views.map(async ({ node, own }) => {
    const { cluster_state, cluster_slots_assigned } = await askInfo(node, 'CLUSTER', 'INFO');
    if (cluster_state !== 'ok' || Number(cluster_slots_assigned) !== SLOTS) return false;
    if (owning.has(own.id) || (spares > 0 && own.masterId === undefined)) return true;
    return own.masterId !== undefined && owning.has(own.masterId) && (await linkedOffset(node)) >= 0;
  });
  if (!(await Promise.all(wellRoled)).every(Boolean)) return false;

  const followed = new Set(views.map(({ own }) => own.masterId).filter((id) => id !== undefined));
  return owning.size >= masters && owning.size <= masters + spares && followed.size === Math.min(masters, replicas);
}

const BAD_FLAGS = new Set(['fail', 'fail?', 'handshake', 'noaddr']);
