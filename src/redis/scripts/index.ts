import { BAN, END_ALL, REVOKE, UNBAN } from './ending';
import { CREATE } from './login';
import { GET_BAN, LIST } from './reading';
import { CHECK, END, REFRESH, TOUCH } from './session';
import { DELETE_USER_INFO, RENEW_USER_INFO, SET_USER_INFO } from './user-info';

/** One script a verb, each atomic, each on the keys of one user (schema.ts has what is in them); `revoke` repeats what has been ended. */
export const SCRIPTS = {
  create: CREATE,
  check: CHECK,
  touch: TOUCH,
  refresh: REFRESH,
  end: END,
  endAll: END_ALL,
  ban: BAN,
  unban: UNBAN,
  getBan: GET_BAN,
  list: LIST,
  renewUserInfo: RENEW_USER_INFO,
  setUserInfo: SET_USER_INFO,
  deleteUserInfo: DELETE_USER_INFO,
  revoke: REVOKE,
} as const;

export type ScriptName = keyof typeof SCRIPTS;
