/*
 * NestJS on Fastify: npx tsx examples/nestjs/fastify.mts
 * Reads PORT, SESSION_SECRET and where Redis is (see ../settings.ts); works without any of them.
 */
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { TokenManager } from 'tokensession';
import { sessionPlugin } from 'tokensession/fastify';
import { portFromEnvironment } from '../settings.js';
import { AppModule } from './app.mjs';

const app = await NestFactory.create<NestFastifyApplication>(AppModule, new FastifyAdapter(), {
  logger: ['error', 'warn'],
});
await app.register(sessionPlugin, { manager: app.get<TokenManager>(TokenManager) });
app.enableShutdownHooks();
await app.listen(portFromEnvironment(3000));
console.log(`NestJS on Fastify: ${await app.getUrl()}`);
