// Packages without types. Those of express-session conflict with ours: both declare `req.session`.

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
