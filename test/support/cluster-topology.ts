import {
  ask,
  askInfo,
  onFreePort,
  type RedisConfig,
  type RedisServer,
  type ServerTls,
  startAll,
  startRedis,
} from './redis-server';
import { startProxy, type TcpProxy } from './tcp-proxy';
import { until } from './until';

interface ClusterTopologyOptions {
  /** Default 3. */
  masters?: number;
  /** The sum over all masters. Default 3. */
  replicas?: number;
  /** Empty nodes that own no slots and replicate no master, until slots are moved to them. Default 0. */
  spares?: number;
  /** Whether `breakBus` can stop the messages between nodes. Default false. */
  hasBreakableBus?: boolean;
  /** How long a node may be silent before the others take it for down. Default 2000, for busy machines. */
  nodeTimeoutMs?: number;
  /** Password of every node, known to all nodes. */
  password?: string;
  /** The address of all nodes. Default `127.0.0.1`. */
  host?: string;
  /** Makes every node speak TLS only. */
  tls?: ServerTls;
  settings?: RedisConfig;
}

/** A Redis Cluster: real processes on loopback. */
export interface ClusterTopology {
  /** The first ones are the initial masters. */
  readonly nodes: RedisServer[];
  /** The settings for a client. */
  readonly startupNodes: { host: string; port: number }[];
  readonly nodeTimeoutMs: number;
  slotOf(key: string): Promise<number>;
  /** The running node that owns the key's slot. Waits for a promotion while there is none. */
  ownerOf(key: string): Promise<RedisServer>;
  /** The nodes that are up and own slots. */
  masters(): Promise<RedisServer[]>;
  /** A node that is up and follows that master. */
  replicaOf(master: RedisServer): Promise<RedisServer>;
  /** Waits for a promotion: another node owns the key's slot, and accepts requests. */
  untilOwner(key: string, otherThan: RedisServer): Promise<RedisServer>;
  /** Waits until every running replica has caught up with its master. */
  untilReplicated(): Promise<void>;
  /** Waits until every node is up, all agree on the slots, and every replica is linked to its master. */
  untilHealed(): Promise<void>;
  /** From now on requests for missing keys of the slot are redirected to the other node (ASK). */
  beginMigration(slot: number, from: RedisServer, to: RedisServer): Promise<void>;
  /** Moves these keys, or all keys in the slot. */
  migrateKeys(slot: number, from: RedisServer, to: RedisServer, keys?: readonly string[]): Promise<void>;
  /** Makes the other node the owner, and waits until all running nodes know. */
  endMigration(slot: number, from: RedisServer, to: RedisServer): Promise<void>;
  /**
   * From now on the nodes exchange no messages, and notice after their timeout. Clients and MIGRATE still reach all
   * nodes.
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
  const startWithBus = async (port: number): Promise<RedisServer> => {
    const bus = await startProxy(port + CLUSTER_BUS);
    buses.push(bus);
    return startRedis({ ...config, 'cluster-announce-bus-port': String(bus.port) }, { port, ...listening });
  };
  const start = () =>
    options.hasBreakableBus ? onFreePort({ clusterBus: true }, startWithBus) : startRedis(config, listening);
  const nodes: RedisServer[] = [];
  const stop = async () => {
    await Promise.all([...nodes, ...buses].map((opened) => opened.stop()));
  };
  try {
    nodes.push(...(await startAll(Array.from({ length: masters + replicas + spares }, () => start()))));
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
          .filter(({ node, own }) => slotsIn(own).some((slot) => ownerIn(seen, slot) === node))
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
        // The target first: otherwise both would briefly redirect a client to each other.
        const others = (await topology.masters()).filter((node) => node !== from && node !== to);
        for (const node of [to, from, ...others]) await ask(node, 'CLUSTER', 'SETSLOT', slot, 'NODE', idOf(to));
        await until(`all know the new owner of slot ${slot}`, async () => {
          if ((await views()).every((view) => ownerIdIn(view, slot) === idOf(to))) return true;
          // Of two nodes that come to the same epoch, one takes a later one. If that is the former owner, its replicas
          // go on with it for good. Does nothing where the epoch of the new owner is the latest.
          await ask(to, 'CLUSTER', 'BUMPEPOCH');
          return false;
        });
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

/** Assigns slots to masters, connects the nodes, and assigns replicas. */
async function join(nodes: RedisServer[], masters: number, replicas: number): Promise<Map<RedisServer, string>> {
  const ids = new Map<RedisServer, string>();
  await Promise.all(
    nodes.map(async (node, index) => {
      ids.set(node, await ask<string>(node, 'CLUSTER', 'MYID'));
      // Otherwise all begin with the same epoch, and resolve that one after the other.
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

/** The address that a node announces to the others. */
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
  readonly slots: readonly SlotRange[];
}

type SlotRange = readonly [first: number, last: number];

/** A node's view of its cluster. */
interface View {
  readonly node: RedisServer;
  readonly own: NodeLine;
  readonly lines: readonly NodeLine[];
}

async function viewOf(node: RedisServer): Promise<View> {
  const text = await ask<string>(node, 'CLUSTER', 'NODES');
  const lines = text.trim().split('\n').map(parseNode);
  const own = lines.find(({ flags }) => flags.includes('myself'));
  if (own === undefined) throw new Error(`${node.port} does not know itself`);
  return { node, own, lines };
}

function parseNode(line: string): NodeLine {
  const [id = '', , flags = '', masterId, , , epoch, link, ...ranges] = line.split(' ');
  return {
    id,
    flags: flags.split(','),
    masterId: masterId === '-' ? undefined : masterId,
    epoch: Number(epoch),
    isConnected: link === 'connected',
    // Slots in brackets are being migrated.
    slots: ranges.filter((range) => !range.startsWith('[')).map(parseRange),
  };
}

function parseRange(range: string): SlotRange {
  const [first = 0, last = first] = range.split('-').map(Number);
  return [first, last];
}

const slotsIn = ({ slots }: NodeLine) =>
  slots.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, offset) => first + offset));

const owns = ({ slots }: NodeLine, slot: number) => slots.some(([first, last]) => first <= slot && slot <= last);

const ownerIdIn = ({ lines }: View, slot: number) => lines.find((line) => owns(line, slot))?.id;

/** All owners and their slots, as text: the same for nodes that agree. */
const layoutIn = ({ lines }: View) =>
  lines
    .filter(({ slots }) => slots.length > 0)
    .map(({ id, slots }) => `${id} ${slots.join()}`)
    .sort()
    .join('\n');

/** The owner with the highest epoch: a master that was away may not yet know that it lost the slot. */
function ownerIn(views: readonly View[], slot: number): RedisServer | undefined {
  return views
    .filter(({ own }) => owns(own, slot))
    .reduce<View | undefined>(
      (latest, view) => (latest && latest.own.epoch > view.own.epoch ? latest : view),
      undefined,
    )?.node;
}

async function slotOf(key: string, nodes: readonly RedisServer[]): Promise<string | undefined> {
  const [node] = nodes;
  // As text, since slot 0 must be truthy, too.
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
  const layouts = views.map(layoutIn);
  const agree =
    layouts.every((layout) => layout === layouts[0]) &&
    views.every(
      ({ lines }) =>
        lines.length === nodes.length &&
        lines.every(({ flags, isConnected }) => isConnected && !flags.some((flag) => BAD_FLAGS.has(flag))),
    );
  if (!agree) return false;

  const owning = new Set(views[0]?.lines.filter(({ slots }) => slots.length > 0).map(({ id }) => id));
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
