import { type Html, html } from '../plugins/lib/html.ts'
import { noticePage } from '../plugins/lib/notice-page.ts'

const STYLE = `
main { width: min(22rem, 100% - 3rem); padding: 2rem 0 }
h1 { margin: 0 0 0.5rem; letter-spacing: -0.02em }
p { margin: 0 0 1.5rem; opacity: 0.75 }
form { display: grid; gap: 1rem }
label { display: grid; gap: 0.25rem; font-size: 0.875rem }
input { font: inherit; padding: 0.6rem 0.75rem; border: 1px solid #8888; border-radius: 0.5rem; background: Field; color: FieldText }
.button { font: inherit; font-weight: 600; text-align: center; text-decoration: none; cursor: pointer; padding: 0.7rem 1rem; border: 0; border-radius: 0.5rem; background: CanvasText; color: Canvas }
a.button { display: block }
.button:hover { opacity: 0.85 }
:focus-visible { outline: 2px solid Highlight; outline-offset: 2px }
.or { display: flex; align-items: center; gap: 1rem; margin: 1.5rem 0; font-size: 0.875rem }
.or::before, .or::after { content: ''; flex: 1; border-top: 1px solid #8885 }
[role=alert] { opacity: 1; padding: 0.6rem 0.75rem; border-radius: 0.5rem; border: 1px solid #c338; background: #c331 }
small { display: block; margin-top: 1.5rem; opacity: 0.75 }
a { color: inherit }
`

export interface SignInPage {
  readonly github: boolean
  /** The form's CSRF token; null if passwords are disabled. */
  readonly passwordToken: string | null
  readonly next: string
  readonly problem?: string
  readonly login?: string
}

/** @param nonce the nonce that the page's CSP allows styles by */
export function signInPage({ github, passwordToken, next, problem, login = '' }: SignInPage, nonce: string): string {
  const content = html`<h1>Sign in to Rhone</h1>
<p>Deploy, watch and run your apps.</p>
${problem !== undefined && html`<p role="alert">${problem}</p>`}
${github && html`<a class="button" href="/auth/github?next=${encodeURIComponent(next)}">Continue with GitHub</a>`}
${github && passwordToken !== null && html`<div class="or">or</div>`}
${passwordToken !== null && passwordForm(passwordToken, next, login)}
${!github && passwordToken === null && html`<p role="alert">No way to sign in is set up on this server yet. Its operators find out how in docs/operations.md.</p>`}`
  return page('Sign in', content, nonce)
}

function passwordForm(token: string, next: string, login: string): Html {
  return html`<form method="post" action="/auth/password">
<input type="hidden" name="_csrf" value="${token}">
<input type="hidden" name="next" value="${next}">
<label>Name <input name="login" value="${login}" autocomplete="username" autocapitalize="none" spellcheck="false" required maxlength="255"></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required maxlength="1024"></label>
<button class="button">Sign in</button>
</form>
<small>Have you been given a code? <a href="/auth/reset">Set your password</a></small>`
}

/** The page for users who are already signed in. */
export function signedInPage(username: string, token: string, nonce: string): string {
  const content = html`<h1>Hello, ${username}</h1>
<p>You are signed in.</p>
<form method="post" action="/logout">
<input type="hidden" name="_csrf" value="${token}">
<button class="button">Sign out</button>
</form>
<small><a href="/docs">The API</a></small>`
  return page('Signed in', content, nonce)
}

export interface ResetPage {
  readonly token: string
  readonly problem?: string
  readonly login?: string
}

/** The page for setting a password with a reset code. */
export function resetPage({ token, problem, login = '' }: ResetPage, nonce: string): string {
  const content = html`<h1>Set your password</h1>
<p>An operator of this server has given you a code.</p>
${problem !== undefined && html`<p role="alert">${problem}</p>`}
<form method="post" action="/auth/reset">
<input type="hidden" name="_csrf" value="${token}">
<label>Name <input name="login" value="${login}" autocomplete="username" autocapitalize="none" spellcheck="false" required maxlength="255"></label>
<label>Code <input name="code" autocomplete="one-time-code" autocapitalize="none" spellcheck="false" required maxlength="64"></label>
<label>New password <input name="password" type="password" autocomplete="new-password" required minlength="12" maxlength="1024"></label>
<button class="button">Set password and sign in</button>
</form>
<small>Twelve characters or more. A few words that nobody would guess make a good one.</small>`
  return page('Set your password', content, nonce)
}

function page(title: string, content: Html, nonce: string): string {
  return noticePage({ title: `${title} - Rhone`, content, style: STYLE }, nonce)
}
