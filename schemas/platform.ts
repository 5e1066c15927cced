import { Type } from '@sinclair/typebox'
import { NoQuery, Page, PageQuery, Sent, Strict } from './common.ts'
import { errorResponses } from './error.ts'

export const Pong = Sent({ pong: Type.Literal(true) })

export const ping = {
  operationId: 'ping',
  summary: 'Answer at once',
  tags: ['platform'],
  querystring: NoQuery,
  response: { 200: Pong, ...errorResponses }
}

export const Region = Sent({
  code: Type.String({ examples: ['iad'] }),
  name: Type.String({ examples: ['Ashburn, Virginia (US)'] }),
  city: Type.String(),
  country: Type.String(),
  continent: Type.String(),
  latitude: Type.Number(),
  longitude: Type.Number(),
  available: Type.Boolean({ description: 'Whether an app can be placed there now.' })
})

export const listRegions = {
  operationId: 'listRegions',
  summary: 'List the regions where apps can run',
  tags: ['platform'],
  querystring: Strict(PageQuery),
  response: { 200: Page(Region), ...errorResponses }
}
