import type { Content, OpenApiDocument, Operation } from './document.ts'
import { nameModels } from './models.ts'
import { describeResponses } from './responses.ts'
import { sampleOf } from './sample.ts'

/** Adds what the generator cannot know to its document: errors, model names, optional bodies and samples. */
export function completeDocument(document: OpenApiDocument): OpenApiDocument {
  const operations = Object.values(document.paths).flatMap(path => Object.values(path))
  describeResponses(document)
  for (const operation of operations) describeBody(operation)
  nameModels(document)
  for (const operation of operations) addSamples(operation, document)
  return document
}

/** Makes nullable bodies optional, and drops them if they have no properties. */
function describeBody(operation: Operation): void {
  for (const media of Object.values(operation.requestBody?.content ?? {})) {
    const { schema } = media
    if (!Array.isArray(schema?.type) || !schema.type.includes('null')) continue
    if (Object.keys(schema.properties ?? {}).length === 0) {
      delete operation.requestBody
      return
    }
    operation.requestBody!.required = false
    media.schema = { ...schema, type: schema.type.filter(type => type !== 'null')[0] }
  }
}

function addSamples({ requestBody, responses }: Operation, document: OpenApiDocument): void {
  const add = (content: Content | undefined, part: 'all' | 'required') => {
    for (const [type, media] of Object.entries(content ?? {}))
      if (media.schema && type === 'application/json') media.example ??= sampleOf(media.schema, document, part)
  }
  add(requestBody?.content, 'required')
  for (const response of Object.values(responses)) if ('content' in response) add(response.content, 'all')
}
