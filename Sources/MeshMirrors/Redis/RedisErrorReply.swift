#if Redis
    import MeshCore

    /// An error reply of Redis: a word in capitals that says what kind it is, and a sentence.
    struct RedisErrorReply: Hashable {
        let word: String
        /// One line for a person, shortened.
        let words: String

        init(_ text: String) {
            // Before version 7 what stopped a script is at the end of a longer sentence.
            let text =
                text.hasPrefix("ERR Error running script")
                ? text.firstRange(of: "-READONLY").map { String(text[$0.lowerBound...].dropFirst()) } ?? text : text
            word = String(text.prefix { $0.isASCII && ($0.isUppercase || $0.isNumber) }.prefix(32))
            // An unknown command is answered with what was sent, contents of sessions and passwords included. That part is not kept.
            words = Self.oneLine(text.firstRange(of: ", with args").map { String(text[..<$0.lowerBound]) } ?? text)
        }

        /// The words that mean "not now" go away by themselves; all others wait for a person.
        var code: MirrorError.Code {
            switch word {
            case "LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN": .unreachable
            case "WRONGTYPE": .foreignData
            default: .refused
            }
        }

        var error: MirrorError {
            switch word {
            case "MOVED", "ASK":
                MirrorError(.refused, "this redis is a node of a Redis Cluster; write redis+cluster:// in the mirror URI")
            case "READONLY": MirrorError(.refused, "this redis is a read-only replica; name its master in the mirror URI")
            case "NOAUTH": MirrorError(.refused, "redis wants a password; write it into the mirror URI: user:password@ before the host")
            default: MirrorError(code, "redis answered: \(words)")
            }
        }

        static func oneLine(_ text: String) -> String {
            String(String.UnicodeScalarView(text.unicodeScalars.prefix(160).map { $0.value < 0x20 || $0.value == 0x7F ? " " : $0 }))
        }
    }
#endif
