// What has no types of its own. Those of express-session can't be had beside tokensession's: both say what
// `req.session` is.

declare module 'express-session' {
  import type { RequestHandler } from 'express';

  interface Options {
    store: session.Store;
    secret: string;
    resave: boolean;
    saveUninitialized: boolean;
    rolling: boolean;
    cookie: { maxAge: number };
  }

  function session(options: Options): RequestHandler;

  namespace session {
    class Store {}
    class Cookie {
      constructor(options: { maxAge: number });
    }
    interface SessionData {
      cookie: Cookie;
      userId?: string;
    }
  }
  export = session;
}

declare module 'koa-redis' {
  import type { Redis } from 'ioredis';
  import type { CreateSessionOptions } from 'koa-session';

  function redisStore(options: { client: Redis }): NonNullable<CreateSessionOptions['store']>;
  export = redisStore;
}
