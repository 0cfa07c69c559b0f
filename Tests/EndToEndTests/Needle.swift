import Foundation
import Glibc
import Testing

/// Looks for what should be nowhere.
enum Needle {
    /// A session id as a log, a store or a packet could show it: as in the cookie, raw, and in hexadecimal.
    static func forms(ofID id: String) throws -> [[UInt8]] {
        let raw = try #require(Data(base64Encoded: id.replacing("-", with: "+").replacing("_", with: "/") + "="))
        return [Array(id.utf8), Array(raw), Array(raw.map { String(format: "%02x", $0) }.joined().utf8)]
    }

    /// A file's bytes.
    static func haystack(_ path: String) -> [UInt8] { FileManager.default.contents(atPath: path).map(Array.init) ?? [] }

    static func isFound(_ text: String, in bytes: [UInt8]) -> Bool { isFound(Array(text.utf8), in: bytes) }

    static func isFound(_ needle: [UInt8], in bytes: [UInt8]) -> Bool {
        bytes.withUnsafeBytes { bytes in
            guard var rest = bytes.baseAddress, let first = needle.first else { return false }
            let end = rest + bytes.count
            while let found = memchr(rest, Int32(first), end - rest), end - UnsafeRawPointer(found) >= needle.count {
                if memcmp(found, needle, needle.count) == 0 { return true }
                rest = UnsafeRawPointer(found) + 1
            }
            return false
        }
    }
}
