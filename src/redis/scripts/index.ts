import { ADD_TO_DATA, CLEAR_DATA, READ_DATA, TAKE_DATA, WRITE_DATA } from './data';
import { BAN, END_ALL, REVOKE, UNBAN } from './ending';
import { CREATE } from './login';
import { MARK, TAKE_MARK } from './mark';
import { GET_BAN, LIST, STATES } from './reading';
import { CHECK, END, END_REUSED, END_WITH_DATA, REFRESH, TOUCH, TOUCH_WITH_DATA } from './session';
import { DELETE_USER_INFO, RENEW_USER_INFO, SET_USER_INFO } from './user-info';

/**
 * One script a verb, each atomic, on the keys of one user (schema.ts has what is in them). `revoke` repeats what has
 * been ended. `mark` and `takeMark` show whether one server holds all keys.
 */
export const SCRIPTS = {
  create: CREATE,
  check: CHECK.lua,
  touch: TOUCH.lua,
  touchWithData: TOUCH_WITH_DATA,
  refresh: REFRESH,
  end: END,
  endReused: END_REUSED,
  endWithData: END_WITH_DATA,
  endAll: END_ALL,
  ban: BAN,
  unban: UNBAN,
  getBan: GET_BAN,
  list: LIST,
  states: STATES,
  readData: READ_DATA,
  writeData: WRITE_DATA,
  takeData: TAKE_DATA,
  addToData: ADD_TO_DATA,
  clearData: CLEAR_DATA,
  renewUserInfo: RENEW_USER_INFO,
  setUserInfo: SET_USER_INFO,
  deleteUserInfo: DELETE_USER_INFO,
  revoke: REVOKE,
  mark: MARK,
  takeMark: TAKE_MARK,
} as const;

/** Those that also take the sessions of several users. Nearly every request waits for one of them. */
export const FOR_EACH_SESSION = { check: CHECK, touch: TOUCH };

export type ScriptName = keyof typeof SCRIPTS;
