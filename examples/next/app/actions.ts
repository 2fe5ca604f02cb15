'use server';

import { redirect } from 'next/navigation';
import { act } from '../lib/session';

export async function enter(form: FormData): Promise<void> {
  await act((session) => session.login(String(form.get('user')))); // check a password here
  redirect('/');
}

export async function leave(): Promise<void> {
  await act((session) => session.logout());
  // Without a redirect, Next renders the page anew in the same answer.
}
