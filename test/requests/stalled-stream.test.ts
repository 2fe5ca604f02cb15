import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { Request, Response } from 'express';
import { streamEvents } from '../../examples/live/events';

it('a client that does not read when its session ends breaks no stream of events', () => {
  jest.useFakeTimers();
  try {
    const leaving = new AbortController();
    const req = { session: { signal: leaving.signal, user: { id: 'ada' } } } as unknown as Request;
    // The client reads nothing without a connection, and the response is never closed.
    const res = new ServerResponse(new IncomingMessage(new Socket()));
    streamEvents(req, res as Response);
    leaving.abort({ endReason: 'revoked' });
    const write = jest.spyOn(res, 'write');
    jest.advanceTimersByTime(60_000);
    expect([res.writableEnded, write.mock.calls]).toEqual([true, []]);
  } finally {
    jest.useRealTimers();
  }
});
