import { Type } from '@sinclair/typebox'
import { NoQuery } from './common.ts'
import { errorResponses } from './error.ts'

export const followEvents = {
  operationId: 'followEvents',
  summary: 'Follow what changes',
  description:
    'Server-sent events with ids only: `deployment` (id, appId, status), `app` (id, teamId), `maintenance`, `gap` when some may have been missed, and `signed-out` before the stream ends for that reason. Of the apps of your teams.',
  tags: ['platform'],
  querystring: NoQuery,
  response: {
    200: { description: 'Events until you leave.', content: { 'text/event-stream': { schema: Type.String() } } },
    ...errorResponses
  }
}
