import type { OpenApiDocument, Operation } from './document.ts'
import { sampleOf } from './sample.ts'

/** A curl command for an operation; expects the token in the shell variable `$TOKEN`. */
export function curlOf(
  { method, path, operation }: { method: string; path: string; operation: Operation },
  document: OpenApiDocument
): string {
  const { parameters = [], requestBody, security = [] } = operation
  const base = document.servers?.[0]?.url ?? '$URL'
  const filled = path.replaceAll(/\{([^}]+)\}/g, (_, name) => {
    const parameter = parameters.find(other => other.in === 'path' && other.name === name)
    return encodeURIComponent(
      String(parameter?.example ?? (parameter ? sampleOf(parameter.schema, document, 'all') : name))
    )
  })
  const query = parameters
    .filter(parameter => parameter.in === 'query' && parameter.required)
    .map(
      ({ name, example, schema }) =>
        `${name}=${encodeURIComponent(String(example ?? sampleOf(schema, document, 'all')))}`
    )
    .join('&')
  const body = requestBody?.content['application/json']?.example
  return [
    `curl ${method === 'GET' ? '' : `-X ${method} `}"${base}${filled}${query && `?${query}`}"`,
    security.length > 0 && '-H "Authorization: Bearer $TOKEN"',
    body !== undefined && "-H 'Content-Type: application/json'",
    body !== undefined && `-d '${JSON.stringify(body).replaceAll("'", "'\\''")}'`
  ]
    .filter(Boolean)
    .join(' \\\n  ')
}
