//! The arguments: extents of two maps.

use std::fmt;

use ::policy::decimal;
use types::{IdExtent, IdKind, IdMap, IdMapError, IdRangeError};

/// Why the arguments are no request. The argument is named by its place: what it says is the caller's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// There is no extent.
    Empty,
    /// The extent with this number, from 1, is not `u:` or `g:` and three plain decimal numbers.
    Extent(usize),
    /// The numbers of this extent are no ranges of ids.
    Range(usize, IdRangeError),
    /// The extents cannot be one map.
    Map(IdMapError),
}

/// Reads the extents. There is one spelling for each, no option and no abbreviation.
///
/// # Errors
/// No extent, one that cannot be read, or extents that the kernel would refuse as one map.
pub fn parse(arguments: &[String]) -> Result<IdMap, RequestError> {
    if arguments.is_empty() {
        return Err(RequestError::Empty);
    }
    let mut map = IdMap::default();
    for (argument, place) in arguments.iter().zip(1..) {
        let (kind, numbers) = fields(argument).ok_or(RequestError::Extent(place))?;
        let [inside, outside, count] = numbers;
        let extent =
            IdExtent::new(inside, outside, count).map_err(|error| RequestError::Range(place, error))?;
        map.push(kind, extent);
    }
    map.check().map_err(RequestError::Map)?;
    Ok(map)
}

fn fields(argument: &str) -> Option<(IdKind, [u64; 3])> {
    let mut fields = argument.split(':');
    let kind = match fields.next()? {
        "u" => IdKind::User,
        "g" => IdKind::Group,
        _ => return None,
    };
    let mut number = || decimal::parse(fields.next()?.as_bytes());
    let numbers = [number()?, number()?, number()?];
    fields.next().is_none().then_some((kind, numbers))
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("nothing to map"),
            Self::Extent(place) => {
                write!(f, "extent {place} is not u:INSIDE:OUTSIDE:COUNT or g:INSIDE:OUTSIDE:COUNT")
            }
            Self::Range(place, error) => write!(f, "extent {place}: {error}"),
            Self::Map(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The edges of what could wrap: 0, 1 and the neighbours of 2^31, 2^32 and 2^64.
    const EDGES: [u64; 7] = [0, 1, 1 << 31, (1 << 32) - 2, (1 << 32) - 1, 1 << 32, u64::MAX];

    fn read(arguments: &[&str]) -> Result<IdMap, RequestError> {
        parse(&arguments.iter().map(|argument| argument.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn extents_of_both_kinds_are_read_in_any_order() {
        let map = read(&["g:0:1000:1", "u:0:100000:65536", "g:1:200000:5"]).unwrap();
        assert_eq!(map.uids, [IdExtent::new(0, 100_000, 65_536).unwrap()]);
        assert_eq!(map.gids, [IdExtent::new(0, 1000, 1).unwrap(), IdExtent::new(1, 200_000, 5).unwrap()]);
    }

    #[test]
    fn numbers_at_the_edges_agree_with_a_128_bit_model() {
        let last = u128::from(u32::MAX);
        for inside in EDGES {
            for outside in EDGES {
                for count in EDGES {
                    let fits = |start: u64| u128::from(start) + u128::from(count) <= last;
                    let valid = count > 0 && fits(inside) && fits(outside);
                    let argument = format!("u:{inside}:{outside}:{count}");
                    assert_eq!(read(&[&argument]).is_ok(), valid, "{argument}");
                }
            }
        }
    }

    #[test]
    fn every_other_spelling_is_refused() {
        for argument in [
            "",
            "u",
            "u:",
            "u:0:1",
            "u:0:1:",
            "u:0:1:2:",
            "u:0:1:2:3",
            "x:0:1:2",
            "U:0:1:2",
            "b:0:1:2",
            "0:1:2",
            "uid:0:1:2",
            "-u:0:1:2",
            "--help",
            "u:0x0:1:2",
            "u:00:1:2",
            "u:0:01:2",
            "u:-1:1:2",
            "u:+0:1:2",
            "u: 0:1:2",
            "u:0:1:2 ",
            " u:0:1:2",
            "u:0:18446744073709551617:1",
            "u:0:1:99999999999999999999",
            "u::1:2",
            "u 0 1 2",
        ] {
            assert_eq!(read(&["u:9:9:1", argument]), Err(RequestError::Extent(2)), "{argument:?}");
        }
        assert_eq!(read(&[]), Err(RequestError::Empty));
    }

    #[test]
    fn overlapping_extents_are_refused() {
        assert!(matches!(read(&["u:0:10:5", "u:4:20:5"]), Err(RequestError::Map(_))));
        assert!(matches!(read(&["u:0:10:5", "u:5:14:5"]), Err(RequestError::Map(_))));
        assert!(read(&["u:0:10:5", "g:0:10:5"]).is_ok());
    }
}
