import { type Html, href, html } from '../plugins/lib/html.ts'
import type { PageContext, SoloView } from './context.ts'
import { noSignInNotice } from './home.ts'
import { button, field, icon, notice } from './parts.ts'

export interface SignInPage {
  readonly github: boolean
  /** Whether passwords are accepted. */
  readonly passwords: boolean
  readonly next: string
  /** The destination in words; absent for the default. */
  readonly target?: string | undefined
  readonly problem?: string
  /** The name to start with. */
  readonly login?: string | undefined
  /** The viewer is signed in, but what comes next needs a sign-in of the last minutes. */
  readonly isAgain?: boolean
}

/** The available ways to sign in. */
export function signInPage({ github, passwords, next, target, problem, login, isAgain }: SignInPage): SoloView {
  return context => ({
    title: isAgain ? 'Sign in again' : 'Sign in',
    content: html`<div class="solo-card"><header><h1>${isAgain ? 'Sign in again' : 'Sign in to Rhone'}</h1>${isAgain && html`<p>The next step is sensitive, so it needs a recent sign-in. Your other tabs stay signed in.</p>`}<p class="faint">${target ? html`To go on to <strong>${target}</strong>.` : 'Deploy, watch and run your apps.'}</p></header>
${problem !== undefined && notice({ tone: 'bad', title: problem })}
${github && html`<a class="button large wide ${passwords ? '' : 'primary'}" href="${href(`/auth/github?next=${encodeURIComponent(next)}`)}" data-no-prefetch>${icon('github')}Continue with GitHub</a>`}
${github && passwords && html`<div class="or">or</div>`}
${passwords && passwordForm(context, next, login)}
${!github && !passwords && noSignInNotice()}</div>`
  })
}

function passwordForm(context: PageContext, next: string, login: string | undefined): Html {
  return html`<form method="post" action="/auth/password" class="form">
<input type="hidden" name="_csrf" value="${context.csrf()}"><input type="hidden" name="next" value="${next}">
${field({ name: 'login', label: 'Name', value: login, autocomplete: 'username', isRequired: true, isCode: true, maxLength: 255, isFirst: login === undefined })}
${field({ name: 'password', label: 'Password', type: 'password', autocomplete: 'current-password', isRequired: true, maxLength: 1_024, isFirst: login !== undefined })}
<div class="actions">${button({ label: 'Sign in', kind: 'primary', size: 'wide' })}</div>
</form>
<p class="hint">Have you been given a code? <a href="/auth/reset">Set your password</a></p>`
}

export interface ResetPage {
  readonly problem?: string
  readonly login?: string
}

/** Sets a password with a code. */
export function resetPage({ problem, login }: ResetPage): SoloView {
  return context => ({
    title: 'Set your password',
    content: html`<div class="solo-card"><header><h1>Set your password</h1><p class="faint">An operator of this server has given you a code.</p></header>
${problem !== undefined && notice({ tone: 'bad', title: problem })}
<form method="post" action="/auth/reset" class="form">
<input type="hidden" name="_csrf" value="${context.csrf()}">
${field({ name: 'login', label: 'Name', value: login, autocomplete: 'username', isRequired: true, isCode: true, maxLength: 255, isFirst: true })}
${field({ name: 'code', label: 'Code', autocomplete: 'one-time-code', isRequired: true, isCode: true, maxLength: 64 })}
${field({ name: 'password', label: 'New password', type: 'password', autocomplete: 'new-password', isRequired: true, minLength: 12, maxLength: 1_024, hint: 'Twelve characters or more. A few words that nobody would guess make a good one.' })}
<div class="actions">${button({ label: 'Set password and sign in', kind: 'primary', size: 'wide' })}</div>
</form></div>`
  })
}
