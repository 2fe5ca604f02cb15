import { withSession } from '../../../lib/session';

export const POST = withSession(async (session) => {
  await session.logout();
  return new Response(null, { status: 204 });
});
