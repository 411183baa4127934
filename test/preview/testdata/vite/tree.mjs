// A server with a tree of processes below it, as bundlers have.
import { spawn } from 'node:child_process'
import { createServer } from 'node:http'

spawn('sh', ['-c', 'sleep 3600 & sleep 3600'], { stdio: 'ignore' })
createServer((_, response) => response.end('tree')).listen(process.env.PORT ?? 0, '127.0.0.1')
