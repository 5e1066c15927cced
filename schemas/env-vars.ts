import { type Static, Type } from '@sinclair/typebox'
import {
  CreatedAt,
  Headers,
  IdempotencyKey,
  IdOrSlug,
  NoContent,
  NoQuery,
  Page,
  PageQuery,
  Sent,
  Strict,
  Text,
  UpdatedAt
} from './common.ts'
import { errorResponses } from './error.ts'

export const EnvVarKey = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern: '^[A-Z][A-Z0-9_]*$',
  'x-form': 'capital letters, digits and underscores, beginning with a letter',
  description: 'The name of the variable.',
  examples: ['API_KEY']
})

/** Without the value, which only the app's machines receive. */
export const EnvVar = Sent(
  {
    key: Text('The name of the variable.', 'API_KEY'),
    version: Type.Integer({
      description: 'The version of its value; `envVersions` of a deployment names the one it uses.'
    }),
    buildTime: Type.Boolean({ description: 'Whether it is also set during builds.' }),
    createdAt: CreatedAt,
    updatedAt: UpdatedAt
  },
  { title: 'EnvVar' }
)

export const EnvVarValue = Strict(
  {
    value: Type.String({
      maxLength: 65_536,
      pattern: '^[^\\u0000\\p{Cs}]*$',
      'x-form': 'text without NUL',
      description: 'Any text of up to 64 KiB in UTF-8, without NUL.',
      examples: ['s3cret']
    }),
    buildTime: Type.Optional(
      Type.Boolean({
        default: false,
        description: 'Whether it is also set during builds; otherwise only in the running app.'
      })
    )
  },
  { title: 'EnvVarValue' }
)
export type EnvVarValue = Static<typeof EnvVarValue>

const params = Strict({ app: IdOrSlug, key: EnvVarKey })
const headers = Headers({ 'idempotency-key': IdempotencyKey })

export const listEnvVars = {
  operationId: 'listEnvVars',
  summary: "List the names of an app's env vars",
  tags: ['env vars'],
  params: Strict({ app: IdOrSlug }),
  querystring: Strict(PageQuery),
  response: { 200: Page(EnvVar), ...errorResponses }
}

export const setEnvVar = {
  operationId: 'setEnvVar',
  summary: 'Set an env var',
  tags: ['env vars'],
  headers,
  params,
  querystring: NoQuery,
  body: EnvVarValue,
  response: { 200: EnvVar, 201: EnvVar, ...errorResponses }
}

export const deleteEnvVar = {
  operationId: 'deleteEnvVar',
  summary: 'Delete an env var',
  tags: ['env vars'],
  headers,
  params,
  querystring: NoQuery,
  response: { 204: NoContent, ...errorResponses }
}
