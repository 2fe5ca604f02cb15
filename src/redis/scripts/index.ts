import { BAN, END, END_ALL, REVOKE, UNBAN } from './ending';
import { CREATE } from './login';
import { GET_BAN, LIST } from './reading';
import { CHECK, END_REUSED, REAUTHENTICATE, REFRESH, ROTATE, TOUCH, UNROTATE } from './session';
import { DELETE_USER_INFO, SET_USER_INFO } from './user-info';

/** One script a verb, each atomic, each on the keys of one user (keys.ts says what is in them). */
export const SCRIPTS = {
  create: CREATE,
  check: CHECK,
  touch: TOUCH,
  refresh: REFRESH,
  reauthenticate: REAUTHENTICATE,
  rotate: ROTATE,
  unrotate: UNROTATE,
  endReused: END_REUSED,
  end: END,
  endAll: END_ALL,
  ban: BAN,
  unban: UNBAN,
  revoke: REVOKE,
  list: LIST,
  getBan: GET_BAN,
  setUserInfo: SET_USER_INFO,
  deleteUserInfo: DELETE_USER_INFO,
} as const;

export type ScriptName = keyof typeof SCRIPTS;
