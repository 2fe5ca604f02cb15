import type { Profiler, Runtime } from 'node:inspector';
import { Session } from 'node:inspector/promises';

/** Microseconds between two looks of the profiler. */
const INTERVAL = 1000;

const session = new Session();

/** Starts a CPU profile of this process. */
export async function startProfile(): Promise<null> {
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.setSamplingInterval', { interval: INTERVAL });
  await session.post('Profiler.start');
  return null;
}

/** Ends the profile. Gives the microseconds of each package, and of each function of ours, without those it called. */
export async function stopProfile(): Promise<Record<string, number>> {
  const { profile } = (await session.post('Profiler.stop')) as Profiler.StopReturnType;
  session.disconnect();
  const places = new Map(profile.nodes.map(({ id, callFrame }) => [id, placesOf(callFrame)]));
  const micros: Record<string, number> = {};
  for (const [index, id] of (profile.samples ?? []).entries()) {
    for (const place of places.get(id) ?? []) micros[place] = (micros[place] ?? 0) + (profile.timeDeltas?.[index] ?? 0);
  }
  return micros;
}

const PACKAGE = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//;

function placesOf({ functionName, url }: Runtime.CallFrame): string[] {
  if (functionName === '(idle)') return [];
  if (functionName === '(garbage collector)') return ['garbage collection'];
  const name = PACKAGE.exec(url)?.[1];
  if (name !== 'tokensession') return [name ?? (url.startsWith('file:') ? 'the application' : 'Node')];
  const file = url.slice(url.indexOf('/dist/') + '/dist/'.length).replace(/\.js$/, '');
  return [name, `${file}: ${functionName || 'a function without a name'}`];
}
