import { createRequire } from 'node:module'

/**
 * Loads optional dependencies, which may not be installed.
 *
 * @param plugin the plugin's name, used in the message
 * @param names the packages
 * @param load imports them, or modules of ours that import them
 * @throws Error that names the plugin and the package if one is not installed
 */
export async function loadPackages<Module>(
  plugin: string,
  names: readonly string[],
  load: () => Promise<Module>
): Promise<Module> {
  try {
    return await load()
  } catch (error) {
    const name = names.find(name => isMissing(error, name))
    throw name === undefined ? error : missing(plugin, name, error)
  }
}

/** The same for one CommonJS package, synchronously. */
export function requirePackage<Module>(plugin: string, name: string): Module {
  try {
    return createRequire(import.meta.url)(name)
  } catch (error) {
    throw isMissing(error, name) ? missing(plugin, name, error) : error
  }
}

/** Whether the package itself is missing. If one of its dependencies is missing, the installation is broken. */
function isMissing(error: unknown, name: string): boolean {
  const { code, message } = error as NodeJS.ErrnoException
  return (code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND') && message.includes(`'${name}'`)
}

function missing(plugin: string, name: string, cause: unknown): Error {
  return new Error(`${plugin} needs the package ${name}, which is not installed: npm install ${name}`, { cause })
}
