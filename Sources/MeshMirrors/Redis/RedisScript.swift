#if Redis
    import Crypto
    import MeshCore

    /// A Lua script that Redis runs as one step, named by its SHA-1 once Redis knows it.
    struct RedisScript: Sendable {
        let text: String
        private let name: [UInt8]

        private init(_ text: String) {
            self.text = text
            name = Insecure.SHA1.hash(data: Array(text.utf8)).flatMap { byte in
                let digits = Array("0123456789abcdef".utf8)
                return [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }

        /// A call of this script on one key; arguments follow by `append`.
        /// - Parameter inFull: send the text, which Redis then remembers, instead of the name. For a Redis that has forgotten the script.
        func call(on key: [UInt8], inFull: Bool) -> RedisCommand {
            var command = RedisCommand(inFull ? "EVAL" : "EVALSHA")
            if inFull { command.append(text.utf8) } else { command.append(name) }
            command.append("1".utf8)
            command.append(key)
            return command
        }

        // How a record lies in Redis: under `sm:` and the session key a HASH; per entry a field with the entry's name and, as its value,
        // version and payload. A tombstone is the one field without a name: version, length of the name, name, payload. A key that never
        // expires, is no HASH, or has a field of another form isn't ours.
        //
        // What the scripts rest on:
        // - They run alone, so reading before writing is safe, and their writes reach replicas as effects.
        // - Versions are compared byte by byte: Lua's `<` on strings goes by the server's locale.
        // - PTTL and TIME instead of PEXPIRETIME and PEXPIREAT GT, which Redis before 7 doesn't have. Asked in this order they may place an
        //   expiry some milliseconds too late, never too early, so a merge can't shorten a life.
        // - A merge reads all fields, for only so are foreign ones found and the bounds kept. Measured on Redis 7.0: 10 us for three entries of
        //   100 bytes, and 140 us for one entry into a session of 60 KB, which write-behind asks for five times a second at most.

        /// Merges entries. ARGV: expiry in Unix ms, `1` for a tombstone, then field and value in turn.
        /// Answers 1 when all is merged, -1 when the key isn't ours, -2 when the record would become too large.
        static let merge = RedisScript(
            """
            local key, given, buries = KEYS[1], tonumber(ARGV[1]), ARGV[2] == '1'
            local stored, ends, fields, bytes = {}, nil, 0, 0
            local ttl = redis.call('PTTL', key)
            if ttl ~= -2 then
              if ttl == -1 or redis.call('TYPE', key).ok ~= 'hash' or redis.call('HLEN', key) > \(MirrorRecord.entriesMax) then return -1 end
              local all = redis.call('HGETALL', key)
              for i = 1, #all, 2 do
                if #all[i] > \(MirrorEntry.nameBytesMax) or #all[i + 1] < \(MirrorEntry.versionBytes) then return -1 end
                stored[all[i]] = all[i + 1]
                fields, bytes = fields + 1, bytes + #all[i] + #all[i + 1]
              end
              local now = redis.call('TIME')
              ends = now[1] * 1000 + math.floor(now[2] / 1000) + ttl
            end
            local function newer(a, b)
              for i = 1, \(MirrorEntry.versionBytes) do
                local x, y = string.byte(a, i), string.byte(b, i)
                if x ~= y then return x > y end
              end
              return false
            end
            local buried = stored['']
            if buried and (fields > 1 or #buried < 17 or #buried < 17 + string.byte(buried, 17)) then return -1 end
            if buries then
              if not buried or newer(ARGV[4], buried) then
                redis.call('HSET', key, '', ARGV[4])
                local others = {}
                for name in pairs(stored) do if name ~= '' then others[#others + 1] = name end end
                if #others > 0 then redis.call('HDEL', key, unpack(others)) end
              end
            elseif not buried then
              local changes = {}
              for i = 3, #ARGV, 2 do
                local old = stored[ARGV[i]]
                if not old or newer(ARGV[i + 1], old) then
                  changes[#changes + 1], changes[#changes + 2] = ARGV[i], ARGV[i + 1]
                  if old then bytes = bytes - #old else fields, bytes = fields + 1, bytes + #ARGV[i] end
                  bytes = bytes + #ARGV[i + 1]
                end
              end
              if fields > \(MirrorRecord.entriesMax) or bytes > \(MirrorRecord.bytesMax) then return -2 end
              if #changes > 0 then redis.call('HSET', key, unpack(changes)) end
            end
            if not ends or given > ends then redis.call('PEXPIREAT', key, ARGV[1]) end
            return 1
            """)

        /// Answers nil when there is nothing, -1 when the key isn't ours, else the expiry in Unix ms and HGETALL's list.
        static let load = RedisScript(
            """
            local key = KEYS[1]
            local ttl = redis.call('PTTL', key)
            if ttl == -2 then return false end
            if ttl == -1 or redis.call('TYPE', key).ok ~= 'hash' or redis.call('HLEN', key) > \(MirrorRecord.entriesMax) then return -1 end
            local now = redis.call('TIME')
            return {string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) + ttl), redis.call('HGETALL', key)}
            """)

        /// Answers 1 when nothing of ours is there any more, -1 when what is there isn't ours.
        static let remove = RedisScript(
            """
            local ttl = redis.call('PTTL', KEYS[1])
            if ttl == -2 then return 1 end
            if ttl == -1 or redis.call('TYPE', KEYS[1]).ok ~= 'hash' or redis.call('HLEN', KEYS[1]) > \(MirrorRecord.entriesMax) then
              return -1
            end
            for _, value in ipairs(redis.call('HVALS', KEYS[1])) do
              if #value < \(MirrorEntry.versionBytes) then return -1 end
            end
            redis.call('UNLINK', KEYS[1])
            return 1
            """)

        // The index of a user: under `sm:u:` and the user's key a ZSET of session keys, scored by their expiry in Unix ms. Doubles hold that exactly.
        // Apart from the session's record, since a Redis of several servers may keep them on two; it is merged right behind it, and again when either fails.

        /// Notes a session of a user. ARGV: its expiry, its key. Answers 1, or -1 when the key isn't an index.
        static let index = RedisScript(
            """
            local key, given = KEYS[1], tonumber(ARGV[1])
            local kind = redis.call('TYPE', key).ok
            if kind ~= 'none' and kind ~= 'zset' then return -1 end
            local known = redis.call('ZSCORE', key, ARGV[2])
            if known and tonumber(known) >= given then return 1 end
            redis.call('ZADD', key, ARGV[1], ARGV[2])
            redis.call('ZREMRANGEBYRANK', key, 0, -\(MirrorRecord.sessionsOfUserMax + 1))
            local last = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')
            redis.call('PEXPIREAT', key, string.format('%.0f', tonumber(last[2])))
            return 1
            """)

        /// Answers the session keys of a user, those that expire last first, or -1 when the key isn't an index.
        static let sessions = RedisScript(
            """
            local kind = redis.call('TYPE', KEYS[1]).ok
            if kind == 'none' then return {} end
            if kind ~= 'zset' then return -1 end
            local now = redis.call('TIME')
            return redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', string.format('(%.0f', now[1] * 1000 + math.floor(now[2] / 1000)))
            """)

        // Visitors: under `sm:visits` a ZSET of their names, scored by the number that each left last. The generation is the member above them all.

        static let visitsKey = "sm:visits"

        /// Leaves a number. ARGV: the generation if there is none yet, the name, the number. Answers the generation and the last number of that name, or
        /// -1 when the key isn't ours. Of names that no longer come the lowest numbers are dropped.
        static let visit = RedisScript(
            """
            local key = KEYS[1]
            local kind = redis.call('TYPE', key).ok
            if kind ~= 'none' and kind ~= 'zset' then return -1 end
            local top = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')
            if #top == 0 then
              redis.call('ZADD', key, '+inf', ARGV[1])
              top = {ARGV[1], 'inf'}
            elseif top[2] ~= 'inf' then
              return -1
            end
            local last = redis.call('ZSCORE', key, 'n' .. ARGV[2])
            redis.call('ZADD', key, ARGV[3], 'n' .. ARGV[2])
            redis.call('ZREMRANGEBYRANK', key, 0, -\(visitorsMax + 2))
            return {top[1], last and string.format('%.0f', tonumber(last))}
            """)

        /// Names whose last number is kept. As many as a mesh may have, several times over.
        private static let visitorsMax = 10_000

        // The log of a channel slot: under `sm:c:` and the slot a STREAM whose ids are the offsets, each item with its generation (g) and payload (p).

        /// Appends items. ARGV: the generation if the log begins now, then payloads. Answers generation and last offset, or -1 when the key isn't a log.
        static let append = RedisScript(
            """
            local key = KEYS[1]
            local kind = redis.call('TYPE', key).ok
            if kind ~= 'none' and kind ~= 'stream' then return -1 end
            local generation, offset = ARGV[1], 0
            local last = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
            if last then
              offset = tonumber(string.match(last[1], '^(%d+)-0$'))
              if not offset or last[2][1] ~= 'g' then return -1 end
              generation = last[2][2]
            end
            for i = 2, #ARGV do
              offset = offset + 1
              redis.call('XADD', key, 'MAXLEN', '~', \(ChannelTail.keptMin), string.format('%.0f-0', offset), 'g', generation, 'p', ARGV[i])
            end
            redis.call('PUBLISH', key, '')
            return {generation, string.format('%.0f', offset)}
            """)

        /// Reads a log. ARGV: generation and offset to begin behind, or `end`. Answers the generation and offset that it began behind, 1 when something before
        /// them is lost, then offset and payload of each item in turn; or -1 when the key isn't a log.
        static let tail = RedisScript(
            """
            local key = KEYS[1]
            local kind = redis.call('TYPE', key).ok
            if kind ~= 'none' and kind ~= 'stream' then return -1 end
            local function offset(item) return tonumber(string.match(item[1], '^(%d+)-0$')) end
            local last = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
            if not last then return {'0', '0', (ARGV[1] == 'end' or ARGV[1] == '0') and 0 or 1} end
            local generation, ends = last[2][2], offset(last)
            if not ends or last[2][1] ~= 'g' then return -1 end
            if ARGV[1] == 'end' then return {generation, string.format('%.0f', ends), 0} end
            local from, lost = tonumber(ARGV[2]), 0
            if ARGV[1] ~= generation then
              from, lost = 0, ARGV[1] == '0' and 0 or 1
            elseif from > ends then
              from, lost = ends, 1
            end
            local items = redis.call('XRANGE', key, string.format('%.0f-1', from), '+', 'COUNT', \(ChannelTail.itemsMax))
            if #items > 0 and offset(items[1]) ~= from + 1 then lost = 1 end
            local answer, bytes = {generation, string.format('%.0f', from), lost}, 0
            for _, item in ipairs(items) do
              bytes = bytes + #item[2][4]
              if bytes > \(ChannelTail.bytesMax) then break end
              answer[#answer + 1] = string.format('%.0f', offset(item))
              answer[#answer + 1] = item[2][4]
            end
            return answer
            """)
    }

    extension RedisCommand {
        /// Appends a record as ``RedisScript/merge`` takes it.
        mutating func append(_ record: MirrorRecord) {
            append(String(record.expiresAt).utf8)
            append((record.isTombstone ? "1" : "0").utf8)
            for entry in record.entries {
                if record.isTombstone {
                    append("".utf8)
                    append(entry.version, then: [UInt8(entry.name.count)] + entry.name + entry.payload)
                } else {
                    append(entry.name)
                    append(entry.version, then: entry.payload)
                }
            }
        }
    }

    extension UserKey {
        var redisKey: [UInt8] { Array("sm:u:\(self)".utf8) }
    }

    extension MirrorRecord {
        static func redisKey(_ key: SessionKey) -> [UInt8] { Array("sm:".utf8) + key.description.utf8 }

        /// A record out of the answer of ``RedisScript/load``; nil when that isn't a record of ours.
        init?(key: SessionKey, expiry: [UInt8], fields: [RedisReply]) {
            guard let expiresAt = Int64(String(decoding: expiry, as: UTF8.self)), fields.count % 2 == 0 else { return nil }
            var entries: [MirrorEntry] = []
            var isTombstone = false
            for index in stride(from: 0, to: fields.count, by: 2) {
                guard case .bytes(var name) = fields[index], case .bytes(let value) = fields[index + 1],
                    value.count >= MirrorEntry.versionBytes
                else { return nil }
                var payload = value.dropFirst(MirrorEntry.versionBytes)
                if name.isEmpty {
                    guard let length = payload.popFirst().map(Int.init), payload.count >= length else { return nil }
                    name = Array(payload.prefix(length))
                    payload = payload.dropFirst(length)
                    isTombstone = true
                }
                entries.append(MirrorEntry(name: name, version: Array(value.prefix(MirrorEntry.versionBytes)), payload: Array(payload)))
            }
            entries.sort { $0.name.lexicographicallyPrecedes($1.name) }
            self.init(key: key, entries: entries, expiresAt: expiresAt, isTombstone: isTombstone)
            guard fault == nil else { return nil }
        }
    }
#endif
