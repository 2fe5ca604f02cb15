import type { ErrorRequestHandler, Express } from 'express';

/** Answers errors with their status and message, and collects them. Mount it last. */
export function collectErrors(app: Express): unknown[] {
  const errors: unknown[] = [];
  app.use(((error, _req, res, next) => {
    errors.push(error);
    if (res.headersSent) return next(error);
    res.status((error as { status?: number }).status ?? 500).json({ error: String((error as Error).message) });
  }) satisfies ErrorRequestHandler);
  return errors;
}
