/*
 * NestJS on Express: npx tsx examples/nestjs/express.mts
 * Reads PORT, SESSION_SECRET and where Redis is (see ../settings.ts); works without any of them.
 */
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { TokenManager } from 'tokensession';
import { sessionMiddleware } from 'tokensession/express';
import { portFromEnvironment } from '../settings.js';
import { AppModule } from './app.mjs';

const app = await NestFactory.create<NestExpressApplication>(AppModule, { logger: ['error', 'warn'] });
app.use(sessionMiddleware(app.get(TokenManager)));
app.enableShutdownHooks();
await app.listen(portFromEnvironment(3000));
console.log(`NestJS on Express: ${await app.getUrl()}`);
