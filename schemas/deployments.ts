import { type Static, Type } from '@sinclair/typebox'
import { GithubBranch } from './apps.ts'
import {
  adapted,
  CreatedAt,
  Headers,
  IdempotencyKey,
  IdOrSlug,
  NoBody,
  NoQuery,
  Nullable,
  OneOf,
  OptionalBody,
  Page,
  PageQuery,
  Sent,
  Strict,
  Text,
  Timestamp,
  UpdatedAt,
  Uuid
} from './common.ts'
import { errorResponses } from './error.ts'

const Status = OneOf(
  [
    'pending',
    'cloning',
    'analyzing',
    'building',
    'pushing',
    'built',
    'deploying',
    'live',
    'build_failed',
    'deploy_failed',
    'cancelled',
    'superseded'
  ],
  { description: '`live` serves the app; `superseded` has done so. The last five are final.' }
)
const Trigger = OneOf(['manual', 'webhook', 'rollback', 'api', 'cli'], { description: 'What it was begun by.' })
const when = (description: string) => Nullable(adapted(Timestamp, { description }))
const text = (description: string, example: string) => Nullable(Text(description, example))
const duration = Nullable(Type.Integer({ description: 'Milliseconds; null until it is over.' }))

export const Deployment = Sent(
  {
    id: Uuid,
    appId: adapted(Uuid, { description: 'The app that it belongs to.' }),
    status: Status,
    trigger: Trigger,
    triggeredBy: Nullable(adapted(Uuid, { description: 'The user who began it.' })),
    commitSha: text(
      'The commit that is built; null until it is known, and for an image.',
      '8f14e45fceea167a5a36dedd4bea2543d8f14e45'
    ),
    commitMessage: text('The first line of its message, or what was rolled back to.', 'Say hello'),
    commitAuthor: text('The name that its author has given git.', 'Ada Lovelace'),
    branch: text('The branch that is built.', 'main'),
    sourceId: Nullable(
      adapted(Uuid, { description: 'The uploaded source that it is built from; null for a commit or an image.' })
    ),
    image: text('What runs, by digest.', `registry.fly.io/hello@sha256:${'0'.repeat(64)}`),
    rollbackOf: Nullable(adapted(Uuid, { description: 'The deployment whose image it brings back.' })),
    envVersions: Type.Unsafe<Record<string, number> | null>({
      type: ['object', 'null'],
      additionalProperties: { type: 'integer' },
      description: 'The env vars that it runs with: which value of each, counted from 1.'
    }),
    config: Type.Unsafe<{ region: string; repository?: string; anyCommit?: true } | null>({
      type: ['object', 'null'],
      properties: {
        region: { type: 'string', description: 'Where it runs.', examples: ['iad'] },
        repository: {
          type: 'string',
          description: 'Where it was cloned from.',
          examples: ['https://github.com/acme/website']
        },
        anyCommit: {
          type: 'boolean',
          description: "Whether an admin has let it be of a commit that the app's branch does not have.",
          examples: [true]
        }
      },
      description: 'The settings of the app that it runs with.'
    }),
    errorCode: Nullable(OneOf(['BUILD_FAILED', 'DEPLOY_FAILED'], { description: 'Which part of it has failed.' })),
    errorMessage: text('Why it has failed, in a sentence.', 'The app ended with exit code 1.'),
    errorLog: text(
      'The last that the program said which has failed; secrets are masked.',
      'Error: Cannot find module "./lib"'
    ),
    buildStartedAt: when('When its build began, the last time.'),
    buildFinishedAt: when('When there was an image, or the build had failed.'),
    buildDurationMs: duration,
    deployStartedAt: when('When its rollout began.'),
    deployFinishedAt: when('When it was live, or the rollout had failed.'),
    deployDurationMs: duration,
    createdAt: CreatedAt,
    updatedAt: UpdatedAt
  },
  { title: 'Deployment' }
)

/** An image in a registry, by digest: a tag may point to another image tomorrow. */
const Image = Type.String({
  maxLength: 500,
  pattern: '^[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}$',
  'x-form': 'an image by its digest, not by a tag',
  examples: [`registry.fly.io/hello@sha256:${'0'.repeat(64)}`]
})

const CommitSha = Type.String({
  pattern: '^[0-9a-f]{40}$',
  'x-form': 'the full SHA of a commit: 40 lower-case hexadecimal digits',
  description: 'The commit to build; the newest of the branch when absent.',
  examples: ['8f14e45fceea167a5a36dedd4bea2543d8f14e45']
})

export const DeployRequest = Strict(
  {
    commitSha: Type.Optional(CommitSha),
    commit_sha: Type.Optional(adapted(CommitSha, { description: 'Another name of commitSha.' })),
    branch: Type.Optional(adapted(GithubBranch, { description: "The branch to build; the app's when absent." })),
    anyCommit: Type.Optional(
      Type.Boolean({
        description: "Also a commit that the app's branch does not have. For admins of the team, as another branch is."
      })
    ),
    image: Type.Optional(adapted(Image, { description: 'An image that is built already, by digest.' }))
  },
  { title: 'DeployRequest' }
)
export type DeployRequest = Static<typeof DeployRequest>

const RollbackRequest = Strict(
  {
    deploymentId: Type.Optional(
      adapted(Uuid, { description: 'A deployment that was live; the one before the live one when absent.' })
    ),
    deployment_id: Type.Optional(adapted(Uuid, { description: 'Another name of deploymentId.' }))
  },
  { title: 'RollbackRequest' }
)

const ofApp = Strict({ app: IdOrSlug })
const ofDeployment = Strict({ app: IdOrSlug, id: Uuid })
const headers = Headers({ 'idempotency-key': IdempotencyKey })

export const deploy = {
  operationId: 'deploy',
  summary: 'Deploy an app',
  description: 'Answers when the deployment is on record; it is built and rolled out behind that. The newest wins.',
  tags: ['deployments'],
  headers,
  params: ofApp,
  querystring: NoQuery,
  body: OptionalBody(DeployRequest),
  response: { 202: Deployment, ...errorResponses }
}

export const deploySource = {
  operationId: 'deploySource',
  summary: 'Deploy an app from an uploaded folder',
  description:
    'The body is the folder as a gzipped tar archive, `Content-Type: application/gzip`, of at most 64 MiB, with at most ' +
    '50,000 entries and 1 GiB unpacked; files, directories and links that stay within it. For admins of the team, as it ' +
    'may be any code. The last upload of an app is kept for 30 days: a deployment of an app without a repository builds it again.',
  tags: ['deployments'],
  consumes: ['application/gzip'],
  headers,
  params: ofApp,
  querystring: NoQuery,
  body: Type.Unsafe<unknown>({ description: 'A gzipped tar archive.' }),
  response: { 202: Deployment, ...errorResponses }
}

export const rollback = {
  operationId: 'rollback',
  summary: 'Bring back an earlier deployment of an app',
  description: 'A new deployment of the same image, with the env vars that the app has now.',
  tags: ['deployments'],
  headers,
  params: ofApp,
  querystring: NoQuery,
  body: OptionalBody(RollbackRequest),
  response: { 202: Deployment, ...errorResponses }
}

export const listDeployments = {
  operationId: 'listDeployments',
  summary: 'List the deployments of an app',
  description: 'The newest first.',
  tags: ['deployments'],
  params: ofApp,
  querystring: Strict(PageQuery),
  response: { 200: Page(Deployment), ...errorResponses }
}

export const getDeployment = {
  operationId: 'getDeployment',
  summary: 'Get a deployment',
  tags: ['deployments'],
  params: ofDeployment,
  querystring: NoQuery,
  response: { 200: Deployment, ...errorResponses }
}

export const cancelDeployment = {
  operationId: 'cancelDeployment',
  summary: 'Cancel a deployment that is on its way',
  description: 'What serves the app goes on serving it. A deployment that is over is a 409.',
  tags: ['deployments'],
  headers,
  params: ofDeployment,
  querystring: NoQuery,
  body: NoBody,
  response: { 202: Deployment, ...errorResponses }
}
