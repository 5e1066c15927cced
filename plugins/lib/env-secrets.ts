/** Variables whose values are secrets, whatever they look like. */
const SECRET_NAME = /PASS|PWD|SECRET|TOKEN|KEY|CREDENTIAL|AUTH|PRIVATE|SALT|DSN|SIGN|CERT|WEBHOOK/

/** A setting by its look: one word, a version, a number, as in `NODE_ENV=production` or `RETRIES=3`. */
const SETTING = /^(?:[A-Za-z]{1,16}|v?\d{1,5}(?:\.\d{1,5}){0,3})$/

/**
 * Values of an app's env that no log may show. Settings are not among them: to mask the word `main`, because a variable
 * holds it, would only make a log unreadable, and tell what the variable holds.
 */
export function secretsOfEnv(env: Readonly<Record<string, string>>): string[] {
  return Object.entries(env)
    .filter(([name, value]) => SECRET_NAME.test(name) || !SETTING.test(value.trim()))
    .map(([, value]) => value)
}
