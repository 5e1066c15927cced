import { extname } from 'node:path'
import { run } from './bundle.ts'

await run('server', new URL(`./server-process${extname(import.meta.filename)}`, import.meta.url))
