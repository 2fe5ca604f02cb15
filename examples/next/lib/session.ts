import { cookies, headers } from 'next/headers';
import { NextResponse } from 'next/server';
import { cache } from 'react';
import { RedisStore, SessionError, TokenManager } from 'tokensession';
import { type FetchSession, sessionOpener } from 'tokensession/fetch';

/** Components and functions have headers but no URL. `http`, because the server behind a proxy does not see HTTPS. */
const APP = 'http://app.internal';

function connect() {
  const sessions = new TokenManager({
    store: new RedisStore(process.env.REDIS_URL),
    secret: process.env.SESSION_SECRET,
    getUserInfo: (id) => (id === 'ada' ? { name: 'Ada Lovelace' } : null),
  });
  return sessionOpener(sessions, { cookie: { secure: true } });
}

// Next evaluates this module for pages, again for route handlers, and in `next build`, where no Redis need be.
const shared = globalThis as { openSession?: ReturnType<typeof connect> };

function openSession(request: Request): Promise<FetchSession> {
  shared.openSession ??= connect();
  return shared.openSession(request);
}

type Handler = (session: FetchSession, request: Request) => Promise<Response>;

/** A route handler with a session. */
export function withSession(handler: Handler): (request: Request) => Promise<Response> {
  return async (request) => {
    try {
      const session = await openSession(request);
      const answer = await handler(session, request).catch(async (error) => {
        if (error instanceof SessionError) return error.getResponse();
        await setCookies(session); // redirect() and notFound() throw
        throw error;
      });
      return session.commit(answer);
    } catch (error) {
      if (error instanceof SessionError) return error.getResponse();
      throw error;
    }
  };
}

/** Runs a server function with the session of its request. */
export async function act<Result>(verb: (session: FetchSession) => Promise<Result>): Promise<Result> {
  const session = await openSession(new Request(APP, { method: 'POST', headers: await headers() }));
  try {
    return await verb(session);
  } finally {
    await setCookies(session);
  }
}

/** The session of a server component, which only reads: by the aborted signal, no cookie can reach the client. */
export const readSession = cache(async (): Promise<FetchSession> => {
  const sent = new Headers(await headers());
  // A server function may have set another cookie since.
  sent.set('cookie', (await cookies()).toString());
  return openSession(new Request(APP, { headers: sent, signal: AbortSignal.abort() }));
});

/** Through Next, which also sends them with a redirect() or notFound(). */
async function setCookies(session: FetchSession): Promise<void> {
  const { headers } = session.commit(new Response());
  const jar = await cookies();
  for (const cookie of new NextResponse(null, { headers }).cookies.getAll()) {
    // Next leaves out a value that is empty, and a `Max-Age` of 0.
    jar.set(cookie.value ? cookie : { ...cookie, value: '', expires: new Date(0) });
  }
}
