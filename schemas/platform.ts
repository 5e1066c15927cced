import { Type } from '@sinclair/typebox'
import { NoQuery, Page, PageQuery, Sent, Strict, Text } from './common.ts'
import { errorResponses } from './error.ts'

export const Pong = Sent({ pong: Type.Literal(true, { description: 'Always true.' }) }, { title: 'Pong' })

export const ping = {
  operationId: 'ping',
  summary: 'Answer at once',
  tags: ['platform'],
  querystring: NoQuery,
  response: { 200: Pong, ...errorResponses }
}

export const Region = Sent(
  {
    code: Text('What it is named by.', 'iad'),
    name: Text('What it is called.', 'Ashburn, Virginia (US)'),
    city: Text('The nearest city.', 'Ashburn'),
    country: Text('Its ISO 3166 code.', 'US'),
    continent: Text('The part of the world.', 'North America'),
    latitude: Type.Number({ description: 'Degrees north.' }),
    longitude: Type.Number({ description: 'Degrees east.' }),
    available: Type.Boolean({ description: 'Whether an app can be placed there now.' })
  },
  { title: 'Region' }
)

export const listRegions = {
  operationId: 'listRegions',
  summary: 'List the regions where apps can run',
  tags: ['platform'],
  querystring: Strict(PageQuery),
  response: { 200: Page(Region), ...errorResponses }
}
