import { Type } from '@sinclair/typebox'
import { NoQuery, Strict } from './common.ts'
import { errorResponses } from './error.ts'

/** Where to go afterwards. What is no path of this server is passed over. */
const Next = Type.String({ maxLength: 2_048, description: 'The path to go to afterwards.' })

const page = { description: 'A page.', content: { 'text/html': { schema: Type.String() } } }
const redirect = { description: 'On to the next page.', type: 'null' }

const tags = ['signing in']

export const getSignIn = {
  operationId: 'getSignIn',
  summary: 'The page to sign in on',
  tags,
  querystring: Strict({ next: Type.Optional(Next) }),
  response: { 200: page, ...errorResponses }
}

export const beginGithub = {
  operationId: 'beginGithub',
  summary: 'Sign in with GitHub',
  tags,
  querystring: Strict({ next: Type.Optional(Next) }),
  response: { 302: redirect, ...errorResponses }
}

const Text = Type.Optional(Type.String({ maxLength: 2_048 }))

export const completeGithub = {
  operationId: 'completeGithub',
  summary: 'Come back from GitHub',
  tags,
  querystring: Strict({
    code: Text,
    state: Text,
    iss: Text,
    error: Text,
    error_description: Text,
    error_uri: Text
  }),
  response: { 303: redirect, ...errorResponses }
}

const CsrfToken = Type.String({ maxLength: 256, description: 'The token of the page that the form was on.' })

export const signOut = {
  operationId: 'signOut',
  summary: 'Sign out',
  tags,
  querystring: NoQuery,
  body: Strict({ _csrf: CsrfToken }),
  response: { 303: redirect, ...errorResponses }
}
