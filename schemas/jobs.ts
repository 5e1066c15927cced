import { Type } from '@sinclair/typebox'
import {
  adapted,
  CreatedAt,
  Done,
  Headers,
  IdempotencyKey,
  NoBody,
  NoQuery,
  Nullable,
  OneOf,
  Page,
  PageQuery,
  Sent,
  Strict,
  Text,
  Timestamp
} from './common.ts'
import { errorResponses } from './error.ts'

const QueueName = Type.String({
  pattern: '^[a-z][a-z0-9-]{0,49}$',
  'x-form': 'the name of a queue',
  description: 'The name of the queue.',
  examples: ['deploy']
})
const JobState = OneOf(['waiting', 'retrying', 'active', 'completed', 'cancelled', 'dead'], {
  description: '`dead`: its last attempt failed; only an operator can retry it.'
})

export const Job = Sent(
  {
    id: Type.String({ description: 'Its id.', examples: ['deploy.0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a'] }),
    queue: QueueName,
    state: JobState,
    key: Nullable(Text('Jobs of a queue with the same key never run at the same time.', 'hello')),
    attempt: Type.Integer({ description: 'The number of attempts; 0 before the first.' }),
    error: Nullable(Text('The reason why the latest attempt failed.', 'The service does not answer')),
    createdAt: CreatedAt,
    startedAt: Nullable(adapted(Timestamp, { description: 'When the latest attempt started.' })),
    finishedAt: Nullable(adapted(Timestamp, { description: 'When it finished.' }))
  },
  { title: 'Job' }
)

export const listJobs = {
  operationId: 'listJobs',
  summary: 'List the jobs of the platform',
  description: 'Newest first. Finished jobs are kept for two weeks.',
  tags: ['operators'],
  querystring: Strict({ ...PageQuery, done: Done, queue: Type.Optional(QueueName), state: Type.Optional(JobState) }),
  response: { 200: Page(Job), ...errorResponses }
}

export const retryJob = {
  operationId: 'retryJob',
  summary: 'Retry a dead job',
  description: 'It starts immediately. A job in any other state cannot be retried (409).',
  tags: ['operators'],
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  params: Strict({
    id: Type.String({
      minLength: 1,
      maxLength: 255,
      description: 'The id, as in the list of jobs.',
      examples: ['deploy.0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a']
    })
  }),
  querystring: NoQuery,
  body: NoBody,
  response: {
    202: Sent(
      {
        id: Type.String({ description: 'Its id.', examples: ['deploy.0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a'] }),
        queue: QueueName,
        state: OneOf(['retrying'], { description: 'Its state.' })
      },
      { title: 'RetriedJob' }
    ),
    ...errorResponses
  }
}
