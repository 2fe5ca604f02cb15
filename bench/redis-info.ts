import type { RedisServer } from '../test/support/redis-server';

/** Milliseconds of CPU time that Redis has used. */
export async function redisCpuMs(redis: RedisServer): Promise<number> {
  return 1000 * ((await infoNumber(redis, 'used_cpu_user')) + (await infoNumber(redis, 'used_cpu_sys')));
}

/** A number of INFO. */
export async function infoNumber({ admin }: RedisServer, name: string): Promise<number> {
  return Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(await admin.info())?.[1]);
}
