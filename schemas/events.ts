import { Type } from '@sinclair/typebox'
import { NoQuery } from './common.ts'
import { errorResponses } from './error.ts'

export const followEvents = {
  operationId: 'followEvents',
  summary: 'Stream changes',
  description:
    'Server-sent events for the apps of your teams, with ids only: `deployment` (id, appId, status), `app` (id, teamId), `maintenance`, `gap` when events may have been missed, and `signed-out` before the stream ends for that reason.',
  tags: ['platform'],
  querystring: NoQuery,
  response: {
    200: {
      description: 'Events until the client disconnects.',
      content: { 'text/event-stream': { schema: Type.String() } }
    },
    ...errorResponses
  }
}
