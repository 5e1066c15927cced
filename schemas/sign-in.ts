import { Type } from '@sinclair/typebox'
import { Headers, IdempotencyKey, NoContent, NoQuery, Strict } from './common.ts'
import { errorResponses } from './error.ts'

/** Where to go afterwards. Anything other than a path on this server is ignored. */
const Next = Type.String({ maxLength: 2_048, description: 'The path to redirect to afterwards.', examples: ['/docs'] })

const page = { description: 'A page.', content: { 'text/html': { schema: Type.String() } } }
const redirect = { description: 'A redirect.', type: 'null' }

const tags = ['signing in']

export const getSignIn = {
  operationId: 'getSignIn',
  summary: 'The page to sign in on',
  tags,
  querystring: Strict({
    next: Type.Optional(Next),
    again: Type.Optional(
      Type.Literal('yes', { description: 'Also for signed-in users, if the next page needs a recent sign-in.' })
    ),
    error: Type.Optional(
      Type.String({
        maxLength: 100,
        description: 'Why the previous attempt failed; the page says what to do.',
        examples: ['invalid_state']
      })
    )
  }),
  response: { 200: page, ...errorResponses }
}

export const firstSignIn = {
  operationId: 'firstSignIn',
  summary: 'Sign the first operator in',
  description: 'With the link that is printed at start in development, while there is no other way to sign in.',
  tags,
  querystring: Strict({
    code: Type.String({
      minLength: 1,
      maxLength: 300,
      description: 'The code from the link.',
      examples: ['1764450000000.x.y.z']
    })
  }),
  response: { 303: redirect, ...errorResponses }
}

export const beginGithub = {
  operationId: 'beginGithub',
  summary: 'Sign in with GitHub',
  tags,
  querystring: Strict({ next: Type.Optional(Next) }),
  response: { 302: redirect, ...errorResponses }
}

const FromGithub = Type.Optional(Type.String({ maxLength: 2_048, description: 'Set by GitHub.', examples: ['a1b2c3'] }))

export const completeGithub = {
  operationId: 'completeGithub',
  summary: 'Come back from GitHub',
  tags,
  querystring: Strict({
    code: FromGithub,
    state: FromGithub,
    iss: FromGithub,
    error: FromGithub,
    error_description: FromGithub,
    error_uri: FromGithub
  }),
  response: { 303: redirect, ...errorResponses }
}

const CsrfToken = Type.String({
  maxLength: 256,
  description: 'The CSRF token of the page with the form.',
  examples: ['MTcxNTk0']
})

export const signOut = {
  operationId: 'signOut',
  summary: 'Sign out',
  tags,
  querystring: NoQuery,
  body: Strict({ _csrf: CsrfToken }, { title: 'SignOutRequest' }),
  response: { 303: redirect, ...errorResponses }
}

const Login = Type.String({
  minLength: 1,
  maxLength: 255,
  description: 'The name to sign in with.',
  examples: ['ada']
})
const Password = Type.String({
  minLength: 1,
  maxLength: 1_024,
  description: 'At least twelve characters for a new one.',
  examples: ['correct horse battery staple']
})

/** A refusal shows the same page with the reason. */
const pageOrRedirect = { 200: page, 303: redirect, ...errorResponses }

export const signInWithPassword = {
  operationId: 'signInWithPassword',
  summary: 'Sign in with a password',
  tags,
  querystring: NoQuery,
  body: Strict(
    { _csrf: CsrfToken, login: Login, password: Password, next: Type.Optional(Next) },
    { title: 'SignInWithPasswordRequest' }
  ),
  response: pageOrRedirect
}

export const getReset = {
  operationId: 'getPasswordReset',
  summary: 'The page for setting a password',
  tags,
  querystring: NoQuery,
  response: { 200: page, ...errorResponses }
}

export const resetPassword = {
  operationId: 'resetPassword',
  summary: 'Set a password with a code, and sign in',
  tags,
  querystring: NoQuery,
  body: Strict(
    {
      _csrf: CsrfToken,
      login: Login,
      code: Type.String({
        minLength: 1,
        maxLength: 64,
        description: 'The code that an operator handed out.',
        examples: ['K7QF-2M9X']
      }),
      password: Password
    },
    { title: 'ResetPasswordRequest' }
  ),
  response: pageOrRedirect
}

export const changePassword = {
  operationId: 'changePassword',
  summary: 'Change your password',
  description: 'All other sessions end, and the session of this request gets a new cookie.',
  tags: ['me'],
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  querystring: NoQuery,
  body: Strict({ currentPassword: Password, newPassword: Password }, { title: 'ChangePasswordRequest' }),
  response: { 204: NoContent, ...errorResponses }
}
